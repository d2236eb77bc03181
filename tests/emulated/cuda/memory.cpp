// A GPU's memory, as a run is told of it: rrhf/train/cuda_memory.h on the emulated GPU.
#include "rrhf/train/cuda_memory.h"

#include "rrhf/core/error.h"

namespace rrhf::train::cuda {

Memory memory(c10::Device) {
  constexpr std::int64_t all = 80'000'000'000;
  return {.free = all, .total = all};
}

void cap(c10::Device, std::int64_t) { throw_error("emulated GPU", "its memory has no cap"); }

}  // namespace rrhf::train::cuda
