#include "rrhf/train/device.h"

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/train/cuda_gpu.h"
#include "rrhf/train/display.h"

namespace rrhf::train {
namespace {

constexpr int least_capability = 80;  // what rrhf/*/*.cu and flash attention are compiled for

// What a container leaves its processes, by version 2 or 1 of control groups.
std::int64_t container_limit() {
  for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::int64_t bytes = 0;
    if (std::ifstream(file) >> bytes && bytes > 0) return bytes;  // not "max"
  }
  return std::numeric_limits<std::int64_t>::max();
}

UsableGpus found_gpus() {
  const auto count = at::hasCUDA() ? static_cast<int>(at::getNumGPUs()) : 0;
  std::vector<int> capabilities(static_cast<std::size_t>(count));
  if constexpr (with_cuda) {
    for (int i = 0; i < count; ++i) {
      const at::Device gpu(at::kCUDA, static_cast<at::DeviceIndex>(i));
      capabilities[static_cast<std::size_t>(i)] = cuda::compute_capability(gpu);
    }
  }
  return usable_gpus(with_cuda, capabilities);
}

}  // namespace

UsableGpus usable_gpus(bool has_kernels, std::span<const int> capabilities) {
  UsableGpus usable{.visible = static_cast<int>(capabilities.size())};
  if (capabilities.empty()) return usable;
  if (!has_kernels) {
    usable.why_none = "this program was built for the CPU (README: cmake --preset cuda)";
    return usable;
  }
  for (std::size_t i = 0; i < capabilities.size(); ++i) {
    if (capabilities[i] >= least_capability) usable.numbers.push_back(static_cast<int>(i));
  }
  if (!usable.numbers.empty()) return usable;
  const int most = std::ranges::max(capabilities);
  usable.why_none = fmt::format("its compute capability is {}.{} and the kernels need {}.{} (A100, RTX 30 and later)",
                                most / 10, most % 10, least_capability / 10, least_capability % 10);
  return usable;
}

at::Device choose_device(DeviceChoice choice, int local_rank) {
  if (choice == DeviceChoice::cpu) return at::kCPU;
  const UsableGpus gpus = found_gpus();
  if (!gpus.numbers.empty()) {
    return {at::kCUDA, static_cast<at::DeviceIndex>(gpu_of(local_rank, gpus))};
  }
  if (choice == DeviceChoice::automatic) return at::kCPU;
  if (!gpus.why_none.empty()) {
    throw_input("device", "cuda was asked for and there is a GPU, but {}; use device cpu or auto", gpus.why_none);
  }
  throw_input("device",
              "cuda was asked for, but this machine or this build of LibTorch has none; use device cpu or auto");
}

void warn_of_slow_device(DeviceChoice choice, at::Device device, Dtype dtype) {
  if (choice == DeviceChoice::automatic && device.is_cpu()) {
    const std::string why = found_gpus().why_none;
    if (!why.empty()) warn("there is a GPU, but {}: this runs on the CPU", why);
  }
  if (device.is_cuda() && dtype != Dtype::bfloat16) {
    warn("in {} a GPU goes without flash attention and at a fraction of its rate; bfloat16 is the fast way",
         name_of(dtype));
  }
}

int gpu_of(int local_rank, const UsableGpus& gpus) {
  if (gpus.visible == 1) return gpus.numbers.front();
  if (local_rank >= std::ssize(gpus.numbers)) {
    throw_input("device",
                "rank {} of this machine needs a GPU of its own, and of those it sees (CUDA_VISIBLE_DEVICES) {} can be "
                "used: start fewer processes, or show each process one GPU",
                local_rank, gpus.numbers.size());
  }
  return gpus.numbers[static_cast<std::size_t>(local_rank)];
}

void wait_for(at::Device device) {
  if (device.is_cuda()) at::accelerator::synchronizeDevice(device.index());
}

std::int64_t memory_of(at::Device device) {
  if constexpr (with_cuda) {
    if (device.is_cuda()) return cuda::memory(device).total;
  }
  const std::int64_t machine = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  return std::min(machine, container_limit());
}

std::int64_t host_memory() {
  struct sysinfo info {};
  const bool known = ::sysinfo(&info) == 0;
  return memory_of(at::kCPU) + (known ? static_cast<std::int64_t>(info.totalswap) * info.mem_unit : 0);
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
