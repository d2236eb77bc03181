// What a GPU is. Defined where the program is built for CUDA (core/with_cuda.h).
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace rrhf::train::cuda {

/// 90 for 9.0.
int compute_capability(c10::Device device);

/// Bytes; `free` is what no process holds.
struct Memory {
  std::int64_t free;
  std::int64_t total;
};
Memory memory(c10::Device device);

/// LibTorch's allocator takes at most `bytes` from now on.
void cap(c10::Device device, std::int64_t bytes);

}  // namespace rrhf::train::cuda
