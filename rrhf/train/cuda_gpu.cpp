#include "rrhf/train/cuda_gpu.h"

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

namespace rrhf::train::cuda {

int compute_capability(c10::Device device) {
  int major = 0, minor = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device.index()));
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device.index()));
  return 10 * major + minor;
}

Memory memory(c10::Device device) {
  const c10::cuda::CUDAGuard guard(device);
  std::size_t free = 0, total = 0;
  C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return {static_cast<std::int64_t>(free), static_cast<std::int64_t>(total)};
}

void cap(c10::Device device, std::int64_t bytes) {
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  const double share = static_cast<double>(bytes) / static_cast<double>(memory(device).total);
  c10::cuda::CUDACachingAllocator::setMemoryFraction(share, device.index());
}

}  // namespace rrhf::train::cuda
