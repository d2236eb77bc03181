// The head of a reward model: one number read from a sequence's last state.
//
// transformers' LlamaForSequenceClassification with num_labels 1: reward = score.weight [1, D] times the normed state
// of the last token. It has no bias.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace rrhf::model {

/// Owns its weight. Const calls are safe from several threads.
class ScoreHead {
 public:
  /// `weight_1D`: in the model's dtype, on its device. Throws Error for any other shape.
  explicit ScoreHead(at::Tensor weight_1D);

  /// One number for each row of `states_RD` (Llama::states), in double on the CPU. Sums are taken in float32 or wider.
  std::vector<double> read(const at::Tensor& states_RD) const;

 private:
  at::Tensor weight_D1_;  // in the accumulation dtype
};

}  // namespace rrhf::model
