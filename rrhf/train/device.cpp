#include "rrhf/train/device.h"

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <unistd.h>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/train/cuda_memory.h"
#include "rrhf/train/display.h"

namespace rrhf::train {

at::Device choose_device(DeviceChoice choice, int local_rank) {
  const bool cuda = at::hasCUDA();
  if (choice == DeviceChoice::cuda && !cuda) {
    throw_input("device",
                "cuda was asked for, but this machine or this build of LibTorch has none; use device cpu or auto");
  }
  if (choice == DeviceChoice::cpu || !cuda) return at::kCPU;
  return {at::kCUDA, static_cast<at::DeviceIndex>(gpu_of(local_rank, static_cast<int>(at::getNumGPUs())))};
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
