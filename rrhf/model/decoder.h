// A LLaMA read forward with a key-value cache: prompts whole, then one token a sequence a step.
//
// On the CPU in float32 and float64 the logits of a sequence are the same to the last bit whatever is computed beside
// it and on however many threads: every sum is taken in an order of its own (cpu_rows_product_impl.h). All else goes
// through ATen, whose products round differently with the number of rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "rrhf/model/kv_cache.h"
#include "rrhf/model/llama.h"

namespace rrhf::model {

class DecodeForward;

/// Keeps a reference to the model, which must outlive it. Owns the cache, which must outlive its sequences. Not
/// thread-safe.
///
/// With dynamic rotary scaling a token beyond the trained positions is turned by the base of the length it was computed
/// at, and keys keep theirs, as in transformers' generate(); Llama::logits() turns a whole sequence by its full length.
class Decoder {
 public:
  enum class Path : std::uint8_t { automatic, aten };

  /// `aten` takes ATen's operations where loops of our own would do: what those are tested against. Throws Error for a
  /// model with adapters.
  explicit Decoder(const Llama& llama, Path path = Path::automatic);
  ~Decoder();

  KvCache& cache() noexcept { return cache_; }

  /// Logits [N, V] that follow each prompt's last token, and the prompts' sequences. No prompt may be empty.
  struct Prefilled {
    at::Tensor logits_NV;
    std::vector<CachedSequence> sequences;
  };
  Prefilled prefill(std::span<const std::span<const std::int32_t>> prompts);

  /// Adds a token to each sequence and gives the logits [N, V] that follow.
  ///
  /// Logits here and above are on the model's device in the accumulation dtype; they live in memory that the next call
  /// writes over.
  at::Tensor step(std::span<CachedSequence* const> sequences, std::span<const std::int32_t> tokens);

 private:
  const Llama& llama_;
  KvCache cache_;
  std::unique_ptr<DecodeForward> forward_;
};

}  // namespace rrhf::model
