// The stream that work on a GPU is queued on. Defined where the program is built for CUDA (core/with_cuda.h).
#pragma once

#include <c10/core/Device.h>

namespace rrhf::optim::cuda {

/// The current stream of the device, a cudaStream_t.
void* current_stream(c10::Device device);

}  // namespace rrhf::optim::cuda
