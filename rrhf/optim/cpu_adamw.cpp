#include "rrhf/optim/cpu_adamw.h"

#include <ATen/Parallel.h>

namespace rrhf::optim {
namespace cpu {

// One a source file that includes cpu_adamw_impl.h.
namespace baseline {
UpdateBlocks update_blocks_of(Stored weights, Stored gradients, Stored moments);
}
#ifdef __x86_64__
namespace avx2 {
UpdateBlocks update_blocks_of(Stored weights, Stored gradients, Stored moments);
}
namespace avx512 {
UpdateBlocks update_blocks_of(Stored weights, Stored gradients, Stored moments);
}
#endif

UpdateBlocks update_blocks(const AdamWTensors& tensors, InstructionSet set) {
  auto compiled = baseline::update_blocks_of;
#ifdef __x86_64__
  if (set == InstructionSet::avx2) compiled = avx2::update_blocks_of;
  if (set == InstructionSet::avx512) compiled = avx512::update_blocks_of;
#endif
  if (!is_present(set)) return nullptr;
  return compiled(tensors.weight_type, tensors.gradient_type, tensors.moment_type);
}

}  // namespace cpu

void adamw_on_cpu(const AdamWRule& rule, const AdamWTensors& tensors) {
  // So many blocks a thread takes at a time.
  constexpr std::int64_t grain = 64;
  const cpu::UpdateBlocks update = cpu::update_blocks(tensors, best_present());
  const std::int64_t blocks = (tensors.count + moment_block - 1) / moment_block;
  at::parallel_for(0, blocks, grain,
                   [&](std::int64_t first, std::int64_t last) { update(rule, tensors, first, last); });
}

}  // namespace rrhf::optim
