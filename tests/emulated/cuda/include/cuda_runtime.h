// Stands in for CUDA's header of this name, with as much of it as the project's kernels use (grid.h).
#pragma once

#include <math.h>

#include <bit>
#include <cstdint>
#include <source_location>

#include "tests/emulated/cuda/grid.h"

#define __global__
#define __device__
#define __host__

using cudaStream_t = CUstream_st*;

struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};

// Read through a call, so that reading them is no access of the kernel's to memory.
template <unsigned rrhf::emulated::Place::*number>
struct PlaceNumber {
  operator unsigned() const { return rrhf::emulated::here().*number; }
};
template <unsigned rrhf::emulated::Place::*number>
struct PlaceNumbers {
  PlaceNumber<number> x;
};
inline constexpr PlaceNumbers<&rrhf::emulated::Place::thread> threadIdx;
inline constexpr PlaceNumbers<&rrhf::emulated::Place::threads> blockDim;
inline constexpr PlaceNumbers<&rrhf::emulated::Place::block> blockIdx;
inline constexpr PlaceNumbers<&rrhf::emulated::Place::blocks> gridDim;

inline void __syncthreads(std::source_location from = std::source_location::current()) {
  rrhf::emulated::barrier(from);
}

inline float __shfl_xor_sync(unsigned members, float x, int lane_mask,
                             std::source_location from = std::source_location::current()) {
  return std::bit_cast<float>(rrhf::emulated::exchange(std::bit_cast<std::uint32_t>(x), members, lane_mask, from));
}

inline float __expf(float x) { return expf(x); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }

enum cudaError_t { cudaSuccess, cudaErrorInvalidConfiguration };
inline cudaError_t cudaGetLastError() {
  return rrhf::emulated::take_refusal() ? cudaErrorInvalidConfiguration : cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t) { return "invalid configuration argument"; }
