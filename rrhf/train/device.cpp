#include "rrhf/train/device.h"

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <unistd.h>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/train/cuda_gpu.h"
#include "rrhf/train/display.h"

namespace rrhf::train {
namespace {

constexpr int least_capability = 80;  // what rrhf/*/*.cu and flash attention are compiled for

std::string why_not(at::Device gpu) {
  std::optional<int> capability;
  if constexpr (with_cuda) capability = cuda::compute_capability(gpu);
  return why_unfit(capability);
}

}  // namespace

at::Device choose_device(DeviceChoice choice, int local_rank) {
  if (choice == DeviceChoice::cpu) return at::kCPU;
  if (!at::hasCUDA()) {
    if (choice == DeviceChoice::automatic) return at::kCPU;
    throw_input("device",
                "cuda was asked for, but this machine or this build of LibTorch has none; use device cpu or auto");
  }
  const int number = gpu_of(local_rank, static_cast<int>(at::getNumGPUs()));
  const at::Device gpu(at::kCUDA, static_cast<at::DeviceIndex>(number));
  const std::string why = why_not(gpu);
  if (why.empty()) return gpu;
  if (choice == DeviceChoice::cuda) throw_input("device", "cuda was asked for, but {}; use device cpu or auto", why);
  return at::kCPU;
}

std::string why_unfit(std::optional<int> capability) {
  if (!capability) return "this program was built for the CPU (README, \"Two commands\": cmake --preset cuda)";
  if (*capability >= least_capability) return "";
  return fmt::format("the GPU is of compute capability {}.{} and the kernels need {}.{} (A100, RTX 30 and later)",
                     *capability / 10, *capability % 10, least_capability / 10, least_capability % 10);
}

void warn_of_slow_device(DeviceChoice choice, at::Device device, Dtype dtype) {
  if (choice == DeviceChoice::automatic && device.is_cpu() && at::hasCUDA()) {
    warn("there is a GPU, but {}: this runs on the CPU", why_not(at::Device(at::kCUDA, 0)));
  }
  if (device.is_cuda() && dtype != Dtype::bfloat16) {
    warn("in {} a GPU goes without flash attention and at a fraction of its rate; bfloat16 is the fast way",
         name_of(dtype));
  }
}

int gpu_of(int local_rank, int gpus) {
  if (gpus == 1) return 0;
  if (local_rank >= gpus) {
    throw_input("device",
                "rank {} of this machine needs a GPU of its own, and it sees {} (CUDA_VISIBLE_DEVICES): start fewer "
                "processes, or show each process one GPU",
                local_rank, gpus);
  }
  return local_rank;
}

void wait_for(at::Device device) {
  if (device.is_cuda()) at::accelerator::synchronizeDevice(device.index());
}

std::int64_t memory_of(at::Device device) {
  if constexpr (with_cuda) {
    if (device.is_cuda()) return cuda::memory(device).total;
  }
  return static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

std::int64_t peak_memory(at::Device device) {
  if (!device.is_cuda()) return peak_memory();
  constexpr std::size_t all_pools = 0;
  return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).reserved_bytes[all_pools].peak;
}

void cap_memory(at::Device device, std::int64_t bytes) {
  if constexpr (with_cuda) {
    if (device.is_cuda()) {
      const cuda::Memory memory = cuda::memory(device);
      if (bytes > memory.total || bytes < memory.total - memory.free) {
        throw_input("usage", "--memory-cap is {}; this GPU has {}B, of which CUDA and others hold {}B",
                    with_commas(bytes), with_commas(memory.total), with_commas(memory.total - memory.free));
      }
      cuda::cap(device, bytes - (memory.total - memory.free));
      return;
    }
  }
  throw_input("usage", "--memory-cap is for a GPU; this run is on {}", device.str());
}

}  // namespace rrhf::train
