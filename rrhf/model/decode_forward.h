// The layers of a decoding pass, by loops of our own or by ATen. Internal to Decoder.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>

#include "rrhf/model/kv_cache.h"
#include "rrhf/model/llama.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// Sequences and the tokens that were just added to them: their places exist (CachedSequence::extend) and are empty.
class DecodeForward {
 public:
  virtual ~DecodeForward() = default;

  /// The prompts of `pack`, one a sequence, whose responses have one label each. Logits of its label rows.
  virtual at::Tensor prefill(const Pack& pack, std::span<const CachedSequence> sequences) = 0;

  /// One token a sequence. Logits of all.
  virtual at::Tensor step(std::span<CachedSequence* const> sequences, std::span<const std::int32_t> tokens) = 0;
};

std::unique_ptr<DecodeForward> make_aten_forward(const Llama& llama, KvCache& cache);

/// For float32 and float64 on the CPU.
std::unique_ptr<DecodeForward> make_loop_forward(const Llama& llama, KvCache& cache);

}  // namespace rrhf::model
