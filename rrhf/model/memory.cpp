#include "rrhf/model/memory.h"

#include <c10/core/ScalarType.h>

#include <algorithm>

#include "rrhf/model/few_shapes.h"
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

// Elements of the rows that a product of narrow matrices fills up on the CPU (few_shapes.h).
std::int64_t filled_work(std::int64_t rows, std::int64_t in, std::int64_t out) {
  const std::int64_t last = rows % few_shapes::most_rows, filled = few_shapes::filled(last);
  return last > 0 && filled > last ? filled * (in + out) : 0;
}

// The same of a weight's gradient, and the gradient before it is added in float32.
std::int64_t product_work(std::int64_t tokens, std::int64_t in, std::int64_t out) {
  return in * out + filled_work(tokens, in, out);
}

// Bytes beside what is kept, in a layer's backward pass: the gradient that comes in and the wider of the MLP's
// activation and, once the MLP's own matrix is gone, attention's gradients. Narrow, each with its product.
std::int64_t layer_work(const Widths& w, std::int64_t tokens, std::int64_t element, bool narrow) {
  const std::int64_t mlp = tokens * (w.d + w.f), attention = tokens * (4 * w.d + w.a + w.q - 2 * w.f);
  if (!narrow) return std::max(mlp, attention) * element;
  return std::max({mlp + product_work(tokens, w.d, w.f), tokens * w.d + product_work(tokens, w.d, 2 * w.f),
                   attention + product_work(tokens, w.d, w.q)}) *
         element;
}

// Rows of logits that are made at once.
std::int64_t head_chunk(const LlamaConfig& config, std::int64_t rows, std::int64_t wide, bool narrow,
                        const HeadBudget& budget) {
  const std::int64_t most = std::max<std::int64_t>(1, budget.chunk_bytes / (config.vocab_size * wide));
  return std::min(rows, narrow ? few_shapes::whole_within(most) : most);
}

std::int64_t head_memory(const LlamaConfig& config, std::int64_t rows, std::int64_t element, std::int64_t wide,
                         const HeadBudget& budget) {
  const std::int64_t row = config.vocab_size * wide, all = rows * row;
  const std::int64_t states = 3 * rows * config.hidden_size * element;  // normed, its gradient, the last layer's
  const std::int64_t chunk = head_chunk(config, rows, wide, element != wide, budget);
  std::int64_t narrow = 0;
  if (element != wide) {
    const std::int64_t filled = few_shapes::filled(chunk);  // a chunk's logits and states, and the head's product
    narrow = (filled * (config.vocab_size + config.hidden_size) + config.vocab_size * config.hidden_size) * element;
  }
  return (all <= budget.kept_bytes ? all : chunk * row) + narrow + states;
}

}  // namespace

PassMemory training_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack, Recompute recompute,
                           const HeadBudget& budget) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const auto wide = static_cast<std::int64_t>(c10::elementSize(accumulation_type(dtype)));
  const Widths widths(config);
  const std::int64_t angles = config.head_dim * wide;
  const std::int64_t layer = kept_by_layer(widths, element, wide), input = widths.d * element;
  // What waits of a layer, and what is beside it once the layer's turn has come: of one that is computed again only the
  // input waits.
  std::int64_t waiting = layer, again = 0;
  if (recompute == Recompute::layer) {
    waiting = input;
    again = layer;
  } else if (recompute == Recompute::mlp) {
    again = 2 * widths.f * element;
    waiting = layer - again;
  }
  const std::int64_t kept = pack.tokens * (config.num_hidden_layers * waiting + angles + input);
  const std::int64_t head = head_memory(config, pack.label_rows, element, wide, budget);
  // The head is done with before the layers' backward begins: the larger of the two stands beside what is kept.
  const std::int64_t work = layer_work(widths, pack.tokens, element, element != wide) + pack.tokens * again;
  return {.activations = kept + std::max<std::int64_t>(0, work - head), .logits = head};
}

PassMemory evaluation_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack,
                             const HeadBudget& budget) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const auto wide = static_cast<std::int64_t>(c10::elementSize(accumulation_type(dtype)));
  const bool narrow = element != wide;
  const Widths w(config);
  // Attention: what came in, q/k/v and what was attended; the MLP: the sum in the middle, gate and up, and beside them
  // their input, normed, or the activation, and at last the output.
  const std::int64_t attention = pack.tokens * ((w.d + w.q + std::max(w.a, w.d)) * element + w.heads * wide);
  const std::int64_t filled = narrow ? filled_work(pack.tokens, w.d, 2 * w.f) : 0;
  const std::int64_t gate_up = pack.tokens * 2 * (w.d + w.f) + filled, activation = pack.tokens * (w.d + 3 * w.f);
  const std::int64_t layer = std::max(attention, std::max(gate_up, activation) * element);
  const std::int64_t chunk = head_chunk(config, pack.label_rows, wide, narrow, budget);
  const std::int64_t product =
      narrow ? std::min(few_shapes::filled(chunk), few_shapes::most_rows) * (w.d + config.vocab_size) * element : 0;
  const std::int64_t states = 2 * pack.label_rows * config.hidden_size * element;  // the last layer's, and normed
  const std::int64_t head = states + chunk * config.vocab_size * wide + product;
  return {.activations = pack.tokens * config.head_dim * wide + std::max<std::int64_t>(0, layer - head),
          .logits = head};
}

std::int64_t kernel_memory(c10::ScalarType dtype, std::int64_t tokens, std::int64_t packs) {
  if (accumulation_type(dtype) == dtype) return 0;
  // A pack's last rows come in one number; those before, if there are any, in one that all packs share.
  const std::int64_t shared = tokens > few_shapes::most_rows ? 1 : 0;
  const std::int64_t numbers = std::min(few_shapes::count_within(tokens), packs + shared);
  // Five weights: a layer's four and the head; each forward, backward and for its own gradient.
  constexpr std::int64_t products = 5 * 3, bytes_a_shape = 700'000;  // docs/performance.md, "Memory"
  return numbers * products * bytes_a_shape;
}

}  // namespace rrhf::model
