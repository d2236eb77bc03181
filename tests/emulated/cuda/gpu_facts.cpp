// What a run is told of a GPU: rrhf/train/cuda_gpu.h on the emulated GPU.
#include "rrhf/train/cuda_gpu.h"

#include "tests/emulated/machine.h"

namespace rrhf::train::cuda {

int compute_capability(c10::Device) { return 90; }

Memory memory(c10::Device) {
  constexpr std::int64_t all = 80'000'000'000;
  return {.free = all, .total = all};
}

void cap(c10::Device, std::int64_t bytes) { emulated::Machine::instance().cap(bytes); }

}  // namespace rrhf::train::cuda
