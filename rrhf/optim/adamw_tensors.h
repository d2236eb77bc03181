// One update of a run of elements in the narrow forms of adamw_rules.h, on the CPU and on a GPU.
#pragma once

#include <cstdint>

#include "rrhf/optim/adamw_rules.h"

namespace rrhf::optim {

/// How numbers lie in memory.
enum class Stored { float32, bfloat16, eight_bit };

/// What an update reads and writes. Nothing is owned.
struct AdamWTensors {
  std::int64_t count = 0;
  std::int64_t first_element = 0;          ///< number of the first element, for the random numbers
  Stored weight_type = Stored::float32;    ///< float32 or bfloat16, which is rounded at random
  Stored gradient_type = Stored::float32;  ///< float32 or bfloat16
  Stored moment_type = Stored::float32;
  void* weights = nullptr;
  const void* gradients = nullptr;
  void* first = nullptr;
  void* second = nullptr;
  float* first_scales = nullptr;  ///< of 8-bit moments, one a block of moment_block elements
  float* second_scales = nullptr;
};

void adamw_on_cpu(const AdamWRule& rule, const AdamWTensors& tensors);

namespace cuda {

/// Queues the same on a stream (a cudaStream_t). Compiles with nvcc alone. Memory must be aligned to 16 bytes. Throws
/// std::runtime_error when CUDA refuses the launch.
void adamw(const AdamWRule& rule, const AdamWTensors& tensors, void* stream);

}  // namespace cuda
}  // namespace rrhf::optim
