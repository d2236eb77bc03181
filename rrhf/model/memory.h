// What one pack takes in memory while a LLaMA is trained on it or evaluated, worked out from the shapes.
//
// Counted are the tensors of Llama::forward(), with activations kept or without, and of Llama::backward(): what the
// layers keep, what the head keeps, and the most that stands beside them at one moment.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "rrhf/core/choices.h"
#include "rrhf/model/label_logprobs.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::model {

/// The size of a pack (model/pack.h).
struct PackSize {
  std::int64_t tokens = 0;
  std::int64_t label_rows = 0;
};

/// Bytes at the moment when the most is held.
struct PassMemory {
  std::int64_t activations = 0;  ///< of the layers: kept for the backward pass, and the widest one's work
  std::int64_t logits = 0;       ///< of the head: probabilities or a chunk of logits, the label rows' states, and for
                                 ///< narrow weights their gradient's product before it is added in float32

  std::int64_t total() const noexcept { return activations + logits; }
};

/// How a pass goes about its memory.
struct PassForm {
  Recompute recompute = Recompute::none;
  HeadBudget head = {};
  bool in_arena = false;  ///< what is kept lies in an Arena, which gets nothing back before the pass is done
  bool frozen = false;    ///< no gradients of weights are made, as beside adapters
};

/// That of a run on a CPU or a GPU.
constexpr PassForm pass_form(Recompute recompute, bool cpu, bool frozen = false) {
  return {.recompute = recompute, .head = head_budget(cpu), .in_arena = cpu, .frozen = frozen};
}

/// For weights and activations in `dtype`.
PassMemory training_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack, const PassForm& form = {});

/// Of that, what lies in an Arena: what a forward pass leaves for its backward pass, and the larger of the head's
/// probabilities and a layer's backward pass.
std::int64_t arena_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack, const PassForm& form);

/// The same where nothing is kept for a backward pass: the larger of a layer and the head.
PassMemory evaluation_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack,
                             const HeadBudget& budget = {});

/// Bytes of the kernels that oneDNN compiles for products of `dtype` on the CPU and keeps (products.h), and of the
/// copies that it makes of narrow logits, which it reads by columns.
std::int64_t kernel_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack,
                           const HeadBudget& budget = {});

}  // namespace rrhf::model
