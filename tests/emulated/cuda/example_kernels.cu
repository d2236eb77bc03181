#include "tests/emulated/cuda/example_kernels.h"

#include <cuda_runtime.h>

namespace rrhf::emulated {
namespace {

__device__ float warp_sum(float x) {
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffU, x, offset);
  return x;
}

__global__ void sum_of_block(float* numbers) {
  __shared__ float sums[2];
  const float sum = warp_sum(numbers[threadIdx.x]);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  numbers[threadIdx.x] = sums[0] + sums[1];
}

__global__ void write_after_shuffle(float* numbers) {
  const float sum = warp_sum(numbers[0]);
  if (threadIdx.x == 5) numbers[0] = sum;
}

__global__ void no_barrier(float* numbers) {
  __shared__ float room[64];
  room[threadIdx.x] = 0;
  __syncthreads();
  room[threadIdx.x] = numbers[threadIdx.x];
  numbers[threadIdx.x] = room[threadIdx.x ^ 32U];
}

__global__ void nobody_wrote(float* numbers) {
  extern __shared__ float room[];
  numbers[threadIdx.x] = room[threadIdx.x];
}

__global__ void one_too_far(float* numbers) { numbers[threadIdx.x + 1] = 1; }

__global__ void not_aligned(float* numbers) {
  if (threadIdx.x == 0) *reinterpret_cast<int4*>(numbers) = *reinterpret_cast<const int4*>(numbers + 1);
}

struct alignas(16) Four {
  float at[4];
};

__global__ void parts_not_aligned(float* numbers) {
  if (threadIdx.x != 0) return;
  Four four;
  *reinterpret_cast<int4*>(&four) = *reinterpret_cast<const int4*>(numbers + 1);
  float sum = 0;
  for (int i = 0; i < 4; ++i) sum += four.at[i];
  numbers[0] = sum;
}

__global__ void into_another_array(float* numbers) {
  __shared__ float first[32];
  __shared__ float second[32];
  float* behind = first + 1;
  behind[threadIdx.x] = numbers[threadIdx.x];
  __syncthreads();
  second[threadIdx.x] = 0;
}

__global__ void beyond_the_warp(float* numbers) { numbers[threadIdx.x] = __shfl_xor_sync(0xffffffffU, 1.0F, 32); }

__global__ void shared_too_far(float* numbers) {
  extern __shared__ float room[];
  room[threadIdx.x + 1] = numbers[threadIdx.x];
}

__global__ void two_blocks(float* numbers) {
  if (threadIdx.x == 0) numbers[0] = 1;
}

__global__ void read_while_written(float* numbers) {
  if (blockIdx.x == 0) {
    numbers[threadIdx.x] = 1;
  } else if (threadIdx.x == 0) {
    numbers[1] += numbers[63];
  }
}

__global__ void shuffle_is_no_barrier(float* numbers) {
  if (threadIdx.x == 0) numbers[0] = 1;
  warp_sum(0);
  numbers[threadIdx.x] = numbers[0];
}

__global__ void different_barriers(float* numbers) {
  if (threadIdx.x == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void barrier_of_some(float* numbers) {
  if (threadIdx.x % 2 == 0) __syncthreads();
  numbers[threadIdx.x] = warp_sum(1);
}

__global__ void shuffle_with_ended(float* numbers) {
  if (threadIdx.x == 3) return;
  numbers[threadIdx.x] = warp_sum(1);
}

__global__ void half_a_warp(float* numbers) { numbers[threadIdx.x] = warp_sum(1); }

}  // namespace

bool run_example(Example example, float* numbers, cudaStream_t stream) {
  constexpr unsigned threads = 64, bytes = threads * sizeof(float);
  switch (example) {
    case Example::sum_of_block: sum_of_block<<<1, threads, 0, stream>>>(numbers); break;
    case Example::write_after_shuffle: write_after_shuffle<<<1, 32, 0, stream>>>(numbers); break;
    case Example::no_barrier: no_barrier<<<1, threads, 0, stream>>>(numbers); break;
    case Example::nobody_wrote: nobody_wrote<<<1, threads, bytes, stream>>>(numbers); break;
    case Example::one_too_far: one_too_far<<<1, threads, 0, stream>>>(numbers); break;
    case Example::not_aligned: not_aligned<<<1, threads, 0, stream>>>(numbers); break;
    case Example::parts_not_aligned: parts_not_aligned<<<1, threads, 0, stream>>>(numbers); break;
    case Example::into_another_array: into_another_array<<<1, 32, 0, stream>>>(numbers); break;
    case Example::beyond_the_warp: beyond_the_warp<<<1, threads, 0, stream>>>(numbers); break;
    case Example::shared_too_far: shared_too_far<<<1, threads, bytes, stream>>>(numbers); break;
    case Example::two_blocks: two_blocks<<<2, threads, 0, stream>>>(numbers); break;
    case Example::read_while_written: read_while_written<<<2, threads, 0, stream>>>(numbers); break;
    case Example::shuffle_is_no_barrier: shuffle_is_no_barrier<<<1, 32, 0, stream>>>(numbers); break;
    case Example::different_barriers: different_barriers<<<1, threads, 0, stream>>>(numbers); break;
    case Example::barrier_of_some: barrier_of_some<<<1, threads, 0, stream>>>(numbers); break;
    case Example::shuffle_with_ended: shuffle_with_ended<<<1, threads, 0, stream>>>(numbers); break;
    case Example::half_a_warp: half_a_warp<<<1, 16, 0, stream>>>(numbers); break;
    case Example::too_many_threads: sum_of_block<<<1, 2048, 0, stream>>>(numbers); break;
  }
  return cudaGetLastError() == cudaSuccess;
}

}  // namespace rrhf::emulated
