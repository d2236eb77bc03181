// The loops of adamw_on_cpu(), compiled for several instruction sets.
#pragma once

#include <cstdint>

#include "rrhf/core/instruction_set.h"
#include "rrhf/optim/adamw_tensors.h"

namespace rrhf::optim::cpu {

/// Updates the blocks of moment_block elements from `first` up to `last`.
using UpdateBlocks = void (*)(const AdamWRule& rule, const AdamWTensors& tensors, std::int64_t first,
                              std::int64_t last);

/// For the kinds of numbers that the tensors hold; null where this machine lacks the instruction set.
UpdateBlocks update_blocks(const AdamWTensors& tensors, InstructionSet set);

}  // namespace rrhf::optim::cpu
