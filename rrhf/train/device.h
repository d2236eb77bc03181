// The device a run computes on.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"

namespace rrhf::train {

/// The device a config asks for; of several GPUs that can be used that of the rank among those of its machine. `auto`
/// takes the CPU where there is none. Throws InputError for cuda where there is none, and where there are too few.
c10::Device choose_device(DeviceChoice choice, int local_rank = 0);

/// The GPUs that a process sees, and those of them that this program can use.
struct UsableGpus {
  int visible = 0;
  std::vector<int> numbers;
  std::string why_none;  ///< where there are GPUs and none can be used
};
/// By each one's compute capability, 90 for 9.0; a program built for the CPU has no kernels.
UsableGpus usable_gpus(bool has_kernels, std::span<const int> capabilities);

/// Which of them is a rank's own: that of its number on the machine among those that can be used, or the only visible
/// one, since starters may show each rank one GPU (Slurm's --gpus-per-task). NCCL refuses ranks that share one. Throws
/// InputError when there are too few.
int gpu_of(int local_rank, const UsableGpus& gpus);

/// Warns where `auto` came to the CPU though there is a GPU, and of a dtype that a GPU computes slowly. For commands,
/// once each.
void warn_of_slow_device(DeviceChoice choice, c10::Device device, Dtype dtype);

/// Returns once the device has done what was queued on it.
void wait_for(c10::Device device);

/// Bytes the device has, and the most this process has held there so far: of a GPU what LibTorch's allocator took, to
/// which comes what CUDA and its libraries take; on the CPU the process's largest resident set.
std::int64_t memory_of(c10::Device device);
std::int64_t peak_memory(c10::Device device);

/// Bytes the machine has for processes at most: its memory, or what a container leaves of it, and swap.
std::int64_t host_memory();

/// Makes a GPU behave as one with `bytes` of memory, what CUDA itself takes included: beyond them allocations fail.
/// Throws InputError for the CPU, and for more than there is.
void cap_memory(c10::Device device, std::int64_t bytes);

}  // namespace rrhf::train
