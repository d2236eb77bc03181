#include "rrhf/model/memory.h"

#include <c10/core/ScalarType.h>

#include <algorithm>

#include "rrhf/model/arena.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/products.h"

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

// Bytes a token that a layer leaves for its backward pass, and those that are computed again there.
struct Kept {
  std::int64_t waiting = 0, again = 0;

  Kept(const Widths& w, std::int64_t element, std::int64_t wide, Recompute recompute) {
    const std::int64_t layer = kept_by_layer(w, element, wide);
    waiting = layer;
    if (recompute == Recompute::layer) {
      waiting = w.d * element;
      again = layer;
    } else if (recompute == Recompute::mlp) {
      again = 2 * w.f * element;
      waiting = layer - again;
    }
  }
};

// Elements a token beside what is kept, in a layer's backward pass: the gradient that comes in and the wider of the
// MLP's activation and, once the MLP's own matrix is gone, attention's gradients.
std::int64_t layer_work(const Widths& w) { return std::max(w.d + w.f, 4 * w.d + w.a + w.q - 2 * w.f); }

// The same where nothing is given back before the layer is done: LayerContext::work.
std::int64_t layer_work_in_arena(const Widths& w, Recompute recompute) {
  return 5 * w.d + w.f + w.a + w.q + (recompute == Recompute::none ? 0 : w.d);
}

// Elements of a weight's gradient in a narrow dtype, before it is added in float32.
std::int64_t narrow_product(const Widths& w) { return w.d * std::max(2 * w.f, w.q); }

// Rows of logits that are made at once.
std::int64_t head_chunk(const LlamaConfig& config, std::int64_t rows, std::int64_t wide, const HeadBudget& budget) {
  return std::min(rows, std::max<std::int64_t>(1, budget.chunk_bytes / (config.vocab_size * wide)));
}

// Probabilities, in rows of their own length.
std::int64_t kept_by_head(const LlamaConfig& config, std::int64_t rows, std::int64_t wide, const HeadBudget& budget) {
  return kept_rows(rows, config.vocab_size * wide, budget) * most_logits_stride(config.vocab_size) * wide;
}

// Beside those.
std::int64_t head_work(const LlamaConfig& config, std::int64_t rows, std::int64_t element, std::int64_t wide,
                       const PassForm& form) {
  const std::int64_t states = 3 * rows * config.hidden_size * element;  // normed, its gradient, the last layer's
  const std::int64_t chunk = head_chunk(config, rows, wide, form.head);
  const std::int64_t kept = kept_rows(rows, config.vocab_size * wide, form.head),
                     passing = std::min(chunk, rows - kept);
  // A chunk of logits, narrowed, and the head's product.
  const std::int64_t product = form.frozen ? 0 : config.hidden_size;
  const std::int64_t narrow = element == wide ? 0 : (chunk + product) * config.vocab_size * element;
  // The rows that are not kept pass through the room of those that are, if they fit.
  return states + narrow + (kept < passing ? passing * most_logits_stride(config.vocab_size) * wide : 0);
}

}  // namespace

PassMemory training_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack, const PassForm& form) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const auto wide = static_cast<std::int64_t>(c10::elementSize(accumulation_type(dtype)));
  const Widths widths(config);
  const Kept layer(widths, element, wide, form.recompute);
  const std::int64_t kept_head = kept_by_head(config, pack.label_rows, wide, form.head);
  const std::int64_t head = head_work(config, pack.label_rows, element, wide, form);
  const std::int64_t product = element == wide || form.frozen ? 0 : narrow_product(widths) * element;
  // Angles, and the gradient that comes in. The head is done with before the layers' backward begins: the larger of the
  // two stands beside what is kept.
  std::int64_t activations = pack.tokens * (config.head_dim * wide + widths.d * element);
  if (form.in_arena) {  // which has room for either's matrices, but for the gradient that goes out and what ATen makes
    const std::int64_t made = element == wide ? widths.d : 2 * widths.d + widths.f;
    const std::int64_t beside = pack.tokens * made * element + product;
    activations += arena_memory(config, dtype, pack, form) - kept_head + std::max<std::int64_t>(0, beside - head);
  } else {
    const std::int64_t work = pack.tokens * (layer_work(widths) * element + layer.again) + product;
    activations +=
        pack.tokens * config.num_hidden_layers * layer.waiting + std::max<std::int64_t>(0, work - head - kept_head);
  }
  return {.activations = activations, .logits = kept_head + head};
}

std::int64_t arena_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack, const PassForm& form) {
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  const auto wide = static_cast<std::int64_t>(c10::elementSize(accumulation_type(dtype)));
  const Widths widths(config);
  const Kept layer(widths, element, wide, form.recompute);
  const std::int64_t head = kept_by_head(config, pack.label_rows, wide, form.head);
  const std::int64_t work = pack.tokens * (layer_work_in_arena(widths, form.recompute) * element + layer.again);
  // A gap behind each tensor: LayerSaved, and no more than three times as many in a layer's backward pass.
  constexpr std::int64_t gaps = 8 * Arena::alignment;
  return config.num_hidden_layers * (pack.tokens * layer.waiting + gaps) + std::max(head, work + 3 * gaps);
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
  const std::int64_t gate_up = pack.tokens * 2 * (w.d + w.f), activation = pack.tokens * (w.d + 3 * w.f);
  const std::int64_t layer = std::max(attention, std::max(gate_up, activation) * element);
  const std::int64_t chunk = head_chunk(config, pack.label_rows, wide, budget);
  const std::int64_t product = narrow ? chunk * config.vocab_size * element : 0;
  const std::int64_t states = 2 * pack.label_rows * config.hidden_size * element;  // the last layer's, and normed
  const std::int64_t head = states + chunk * config.vocab_size * wide + product;
  return {.activations = pack.tokens * config.head_dim * wide + std::max<std::int64_t>(0, layer - head),
          .logits = head};
}

std::int64_t kernel_memory(const LlamaConfig& config, c10::ScalarType dtype, PackSize pack, const HeadBudget& budget) {
  constexpr std::int64_t bytes_a_shape = 700'000;  // docs/performance.md, "Memory"
  const c10::ScalarType wide = accumulation_type(dtype);
  if (wide == dtype) return dtype == c10::ScalarType::Float && prefers_onednn() ? kernels_kept * bytes_a_shape : 0;
  const auto bytes = [](c10::ScalarType type) { return static_cast<std::int64_t>(c10::elementSize(type)); };
  const std::int64_t chunk = head_chunk(config, pack.label_rows, bytes(wide), budget) * config.vocab_size;
  return kernels_kept * bytes_a_shape + 2 * chunk * bytes(dtype);
}

}  // namespace rrhf::model
