// What the kernels share: elements as they are loaded and computed with, sums over a block, launches that are checked.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "rrhf/model/cuda_kernels.h"

namespace rrhf::model::cuda {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }

template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

/// 16 bytes of elements, moved in one access.
template <class T>
struct alignas(16) Vector {
  static constexpr int size = 16 / sizeof(T);
  T at[size];
};

template <class T>
__device__ inline Vector<T> load(const T* from) {
  Vector<T> result;
  *reinterpret_cast<int4*>(&result) = *reinterpret_cast<const int4*>(from);
  return result;
}

template <class T>
__device__ inline void store(T* to, const Vector<T>& from) {
  *reinterpret_cast<int4*>(to) = *reinterpret_cast<const int4*>(&from);
}

constexpr int warp_size = 32;

__device__ inline float warp_sum(float x) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffU, x, offset);
  return x;
}

__device__ inline float warp_max(float x) {
  for (int offset = warp_size / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, offset));
  return x;
}

/// The sum over all threads of a block of whole warps, up to 1024, known to each of them. `room`: 32 floats of shared
/// memory, free again once all threads have left.
__device__ inline float block_sum(float x, float* room) {
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const int warps = static_cast<int>(blockDim.x) / warp_size;
  x = warp_sum(x);
  if (lane == 0) room[warp] = x;
  __syncthreads();
  x = warp_sum(lane < warps ? room[lane] : 0.0F);
  __syncthreads();
  return x;
}

inline void check_launch(const char* kernel) {
  const cudaError_t failure = cudaGetLastError();
  if (failure != cudaSuccess) throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(failure));
}

/// Calls visit with a value of the element type.
template <class F>
void with_element_type(Element element, F&& visit) {
  switch (element) {
    case Element::float32: return visit(float{});
    case Element::bfloat16: return visit(__nv_bfloat16{});
    case Element::float16: return visit(__half{});
  }
}

/// Blocks of `threads` for so many pieces of work, one a thread; 0 pieces are nobody's business.
inline unsigned blocks_for(std::int64_t pieces, int threads) {
  return static_cast<unsigned>((pieces + threads - 1) / threads);
}

}  // namespace rrhf::model::cuda
