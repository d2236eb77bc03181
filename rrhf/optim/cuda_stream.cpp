#include "rrhf/optim/cuda_stream.h"

#include <c10/cuda/CUDAStream.h>

namespace rrhf::optim::cuda {

void* current_stream(c10::Device device) { return c10::cuda::getCurrentCUDAStream(device.index()).stream(); }

}  // namespace rrhf::optim::cuda
