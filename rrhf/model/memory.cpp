#include "rrhf/model/memory.h"

#include <c10/core/ScalarType.h>

#include <algorithm>

#include "rrhf/model/ops.h"

namespace rrhf::model {
namespace {

// Widths of a layer's activations in elements a token, named as in decoder_layer.h.
struct Widths {
  std::int64_t d, q, a, f, heads;

  explicit Widths(const LlamaConfig& config)
      : d(config.hidden_size),
        q(config.qkv_size()),
        a(config.attention_size()),
        f(config.intermediate_size),
        heads(config.num_attention_heads) {}
};

// Bytes a token that one layer keeps: LayerSaved.
std::int64_t kept_by_layer(const Widths& w, std::int64_t element, std::int64_t wide) {
  return (w.d + w.q + w.a + w.d + 2 * w.f) * element + (2 + w.heads) * wide;
}

// Bytes a token beside what is kept, in a layer's backward pass: the gradient that comes in and the wider of the MLP's
// activation and, once the MLP's own matrix is gone, attention's gradients.
std::int64_t layer_work(const Widths& w, std::int64_t element) {
  const std::int64_t mlp = w.d + w.f;
  const std::int64_t attention = 4 * w.d + w.a + w.q - 2 * w.f;
  return std::max(mlp, attention) * element;
}

std::int64_t head_memory(const LlamaConfig& config, std::int64_t rows, std::int64_t element, std::int64_t wide,
                         const HeadBudget& budget) {
  const std::int64_t row = config.vocab_size * wide, all = rows * row;
  const std::int64_t chunk = std::min(all, std::max(row, budget.chunk_bytes));
  const std::int64_t product = config.vocab_size * config.hidden_size * element;
  const std::int64_t narrow = element == wide ? 0 : chunk / wide * element + product;
  const std::int64_t states = 3 * rows * config.hidden_size * element;  // normed, its gradient, the last layer's
  return (all <= budget.kept_bytes ? all : chunk) + narrow + states;
}

}  // namespace

PassMemory training_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack, Recompute recompute,
                           const HeadBudget& budget) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const auto wide = static_cast<std::int64_t>(c10::elementSize(accumulation_type(dtype)));
  const Widths widths(config);
  const std::int64_t angles = config.head_dim * wide;
  const bool again = recompute == Recompute::layer;
  const std::int64_t layer = kept_by_layer(widths, element, wide);
  // Of a layer that is computed again only the input waits.
  const std::int64_t kept =
      pack.tokens * (config.num_hidden_layers * (again ? widths.d * element : layer) + angles + widths.d * element);
  const std::int64_t head = head_memory(config, pack.label_rows, element, wide, budget);
  // The head is done with before the layers' backward begins: the larger of the two stands beside what is kept.
  const std::int64_t work = pack.tokens * (layer_work(widths, element) + (again ? layer : 0));
  return {.activations = kept + std::max<std::int64_t>(0, work - head), .logits = head};
}

}  // namespace rrhf::model
