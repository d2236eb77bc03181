// Log-probs of the labels, summed per response: projection to the vocabulary, log-softmax and gather in one, in chunks
// of rows, so that a [tokens, vocabulary] matrix never exists.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "rrhf/model/arena.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// Bytes the head may use.
struct HeadBudget {
  std::int64_t chunk_bytes = std::int64_t{64} << 20;  ///< one chunk of logits
  std::int64_t kept_bytes = std::int64_t{128} << 20;  ///< probabilities kept for the backward pass; the other rows' are
                                                      ///< computed again
};

/// That of a GPU, where products are fast when they are tall, or of a CPU.
constexpr HeadBudget head_budget(bool cpu) {
  return cpu ? HeadBudget{} : HeadBudget{.chunk_bytes = std::int64_t{256} << 20, .kept_bytes = std::int64_t{512} << 20};
}

/// What the backward pass needs. D: hidden_size, V: vocabulary.
struct HeadSaved {
  at::Tensor log_normalizer_R1;  ///< log-sum-exp of each row's logits, in the accumulation dtype
  at::Tensor probabilities_KV;   ///< of the first K rows, which may stand apart; undefined where none is kept
  at::Tensor passing_KV;         ///< their room, through which the other rows pass before and after them
};

/// The summed log-prob of each response of the pack, in double on the CPU. `hidden_RD`: normed states of the label
/// rows. With `saved` the backward pass is prepared; probabilities lie in `room`.
std::vector<double> label_logprobs(const at::Tensor& hidden_RD, const at::Tensor& head_VD, const Pack& pack,
                                   const HeadBudget& budget, HeadSaved* saved, Room room = {});

/// The most elements from one row of logits to the next.
std::int64_t most_logits_stride(std::int64_t vocabulary);

/// How many of `rows` rows have their probabilities kept, each of `row_bytes`: all, or whole chunks.
std::int64_t kept_rows(std::int64_t rows, std::int64_t row_bytes, const HeadBudget& budget);

/// The gradient with respect to hidden_RD of sum over responses of coefficient * summed log-prob;
/// `head_gradient_VD`, where it is defined, += the head's. Uses up `saved`.
at::Tensor label_logprobs_backward(std::span<const double> coefficients, const at::Tensor& hidden_RD,
                                   const at::Tensor& head_VD, const Pack& pack, const HeadBudget& budget,
                                   HeadSaved& saved, at::Tensor& head_gradient_VD);

}  // namespace rrhf::model
