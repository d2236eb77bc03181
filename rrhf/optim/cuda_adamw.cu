// A warp a block of 256 elements, 8 a thread: what shares a scale is in one warp's registers.
#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "rrhf/optim/adamw_tensors.h"

namespace rrhf::optim::cuda {
namespace {

constexpr int warp_size = 32, threads = 256, each = static_cast<int>(moment_block) / warp_size;

// 8 elements, moved in as few accesses as can be where the run is whole.
template <class T>
__device__ void read(const void* from, std::int64_t begin, int count, T (&to)[each]) {
  const T* at = static_cast<const T*>(from) + begin;
  if (count == each) {
    constexpr int pieces = sizeof(to) >= sizeof(int4) ? sizeof(to) / sizeof(int4) : 1;
    if constexpr (sizeof(to) >= sizeof(int4)) {
      for (int i = 0; i < pieces; ++i) reinterpret_cast<int4*>(to)[i] = reinterpret_cast<const int4*>(at)[i];
    } else {
      *reinterpret_cast<int2*>(to) = *reinterpret_cast<const int2*>(at);
    }
  } else {
#pragma unroll
    for (int i = 0; i < each; ++i) to[i] = i < count ? at[i] : T(0);
  }
}

template <class T>
__device__ void write(void* to, std::int64_t begin, int count, const T (&from)[each]) {
  T* at = static_cast<T*>(to) + begin;
  if (count == each) {
    if constexpr (sizeof(from) >= sizeof(int4)) {
      for (int i = 0; i < static_cast<int>(sizeof(from) / sizeof(int4)); ++i) {
        reinterpret_cast<int4*>(at)[i] = reinterpret_cast<const int4*>(from)[i];
      }
    } else {
      *reinterpret_cast<int2*>(at) = *reinterpret_cast<const int2*>(from);
    }
  } else {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      if (i < count) at[i] = from[i];
    }
  }
}

template <Stored Type>
__device__ void read_numbers(const void* from, std::int64_t begin, int count, float (&to)[each]) {
  if constexpr (Type == Stored::float32) {
    alignas(16) float values[each];
    read(from, begin, count, values);
#pragma unroll
    for (int i = 0; i < each; ++i) to[i] = values[i];
  } else {
    alignas(16) std::uint16_t values[each];
    read(from, begin, count, values);
#pragma unroll
    for (int i = 0; i < each; ++i) to[i] = from_bfloat16(values[i]);
  }
}

__device__ float scale_of(const float (&values)[each]) {
  float most = 0;
#pragma unroll
  for (int i = 0; i < each; ++i) most = fmaxf(most, fabsf(values[i]));
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    most = fmaxf(most, __shfl_xor_sync(0xffffffffU, most, offset));
  }
  return most < least_scale ? 0 : most;
}

// The moments of a thread's elements. All threads of a warp make the same calls.
template <Stored Type>
struct MomentsOf {
  const AdamWTensors& t;
  std::int64_t block, begin;
  int count;

  __device__ void read_into(float (&first)[each], float (&second)[each]) const {
    if constexpr (Type == Stored::eight_bit) {
      const float first_scale = t.first_scales[block], second_scale = t.second_scales[block];
      alignas(16) std::uint8_t first_codes[each], second_codes[each];
      read(t.first, begin, count, first_codes);
      read(t.second, begin, count, second_codes);
#pragma unroll
      for (int i = 0; i < each; ++i) {
        first[i] = from_first_code(first_codes[i]) * first_scale;
        second[i] = from_second_code(second_codes[i]) * second_scale;
      }
    } else {
      read_numbers<Type>(t.first, begin, count, first);
      read_numbers<Type>(t.second, begin, count, second);
    }
  }

  __device__ void write_back(const float (&first)[each], const float (&second)[each], const Dice* dice) const {
    if constexpr (Type == Stored::eight_bit) {
      const float first_scale = scale_of(first), second_scale = scale_of(second);
      if (threadIdx.x % warp_size == 0) {
        t.first_scales[block] = first_scale;
        t.second_scales[block] = second_scale;
      }
      const float first_inverse = first_scale > 0 ? 1 / first_scale : 0;
      const float second_inverse = second_scale > 0 ? 1 / second_scale : 0;
      alignas(16) std::uint8_t first_codes[each], second_codes[each];
#pragma unroll
      for (int i = 0; i < each; ++i) {
        first_codes[i] = to_first_code(first[i] * first_inverse, dice[i].first);
        second_codes[i] = to_second_code(second[i] * second_inverse, dice[i].second);
      }
      write(t.first, begin, count, first_codes);
      write(t.second, begin, count, second_codes);
    } else if constexpr (Type == Stored::bfloat16) {
      alignas(16) std::uint16_t first_bits[each], second_bits[each];
#pragma unroll
      for (int i = 0; i < each; ++i) {
        first_bits[i] = to_bfloat16(first[i], dice[i].first);
        second_bits[i] = to_bfloat16(second[i], dice[i].second);
      }
      write(t.first, begin, count, first_bits);
      write(t.second, begin, count, second_bits);
    } else {
      alignas(16) float first_values[each], second_values[each];
#pragma unroll
      for (int i = 0; i < each; ++i) {
        first_values[i] = first[i];
        second_values[i] = second[i];
      }
      write(t.first, begin, count, first_values);
      write(t.second, begin, count, second_values);
    }
  }
};

template <Stored Weight, Stored Gradient, Stored Moment>
__global__ void adamw_kernel(AdamWRule rule, AdamWTensors t) {
  const std::int64_t block =
      (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) / warp_size;  // of moment_block elements
  if (block * moment_block >= t.count) return;                                      // whole warps leave
  const std::int64_t begin = block * moment_block + threadIdx.x % warp_size * each;
  const std::int64_t left = t.count - begin;
  const int count = left >= each ? each : (left > 0 ? static_cast<int>(left) : 0);
  float weights[each], gradients[each], first[each], second[each];
  read_numbers<Weight>(t.weights, begin, count, weights);
  read_numbers<Gradient>(t.gradients, begin, count, gradients);
  const MomentsOf<Moment> moments{t, block, begin, count};
  moments.read_into(first, second);
#pragma unroll
  for (int i = 0; i < each; ++i) {
    AdamWMoments own{first[i], second[i]};
    weights[i] = optim::adamw(rule, weights[i], gradients[i], own);
    first[i] = own.first;
    second[i] = own.second;
  }
  constexpr bool rolls = Weight == Stored::bfloat16 || Moment != Stored::float32;
  Dice dice[each];
  if constexpr (rolls) {
#pragma unroll
    for (int i = 0; i < each; ++i) dice[i] = dice_of(rule.key, t.first_element + begin + i);
  }
  if constexpr (Weight == Stored::bfloat16) {
    alignas(16) std::uint16_t bits[each];
#pragma unroll
    for (int i = 0; i < each; ++i) bits[i] = to_bfloat16(weights[i], dice[i].weight);
    write(t.weights, begin, count, bits);
  } else {
    alignas(16) float values[each];
#pragma unroll
    for (int i = 0; i < each; ++i) values[i] = weights[i];
    write(t.weights, begin, count, values);
  }
  moments.write_back(first, second, dice);
}

template <Stored Weight, Stored Gradient>
void launch(const AdamWRule& rule, const AdamWTensors& t, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((t.count + threads * each - 1) / (threads * each));
  switch (t.moment_type) {
    case Stored::float32:
      adamw_kernel<Weight, Gradient, Stored::float32><<<blocks, threads, 0, stream>>>(rule, t);
      break;
    case Stored::bfloat16:
      adamw_kernel<Weight, Gradient, Stored::bfloat16><<<blocks, threads, 0, stream>>>(rule, t);
      break;
    case Stored::eight_bit:
      adamw_kernel<Weight, Gradient, Stored::eight_bit><<<blocks, threads, 0, stream>>>(rule, t);
      break;
  }
}

template <Stored Weight>
void launch(const AdamWRule& rule, const AdamWTensors& t, cudaStream_t stream) {
  if (t.gradient_type == Stored::float32) return launch<Weight, Stored::float32>(rule, t, stream);
  launch<Weight, Stored::bfloat16>(rule, t, stream);
}

}  // namespace

void adamw(const AdamWRule& rule, const AdamWTensors& tensors, void* stream) {
  if (tensors.count == 0) return;
  const auto on = static_cast<cudaStream_t>(stream);
  if (tensors.weight_type == Stored::float32) {
    launch<Stored::float32>(rule, tensors, on);
  } else {
    launch<Stored::bfloat16>(rule, tensors, on);
  }
  const cudaError_t failure = cudaGetLastError();
  if (failure != cudaSuccess) throw std::runtime_error(std::string("adamw: ") + cudaGetErrorString(failure));
}

}  // namespace rrhf::optim::cuda
