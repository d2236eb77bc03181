#include "rrhf/model/llama.h"

#include <ATen/ATen.h>

#include <utility>

#include "rrhf/core/error.h"

namespace rrhf::model {
Llama::Llama(LlamaConfig config, Weights weights, HeadBudget budget)
    : config_(std::move(config)), weights_(std::move(weights)), budget_(budget) {}

at::Tensor Llama::hidden_states(const LayerContext& context, std::vector<LayerSaved>* saved) const {
  if (saved != nullptr) saved->resize(weights_.layers.size());
  at::Tensor x_TD = weights_.embedding_VD.index_select(0, context.pack.tokens_T);
  end_of(Part::embedding, context.times);
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    x_TD = layer_forward(std::move(x_TD), weights_.layers[i], context, saved == nullptr ? nullptr : &(*saved)[i]);
  }
  return x_TD;
}

std::vector<double> Llama::forward(const Pack& pack, Activations* saved, PartTimes* times) const {
  RotaryTable rotary = rotary_table(pack, config_, dtype());
  at::Tensor last_RD = hidden_states({pack, rotary, config_, times}, saved == nullptr ? nullptr : &saved->layers)
                           .index_select(0, pack.rows_R);
  RmsNormed normed = rms_norm(last_RD, weights_.final_norm_D, config_.rms_norm_eps);
  if (saved != nullptr) {
    saved->rotary = std::move(rotary);
    saved->last_RD = std::move(last_RD);
    saved->last_inverse_rms_R1 = normed.inverse_rms_T1;
  }
  std::vector<double> logprobs =
      label_logprobs(normed.y_TD, weights_.head(), pack, budget_, saved == nullptr ? nullptr : &saved->head);
  end_of(Part::head, times);
  return logprobs;
}

void Llama::backward(const Pack& pack, std::span<const double> coefficients, Activations& saved, Weights& gradients,
                     PartTimes* times) const {
  at::Tensor& head_gradient = gradients.head_VD.defined() ? gradients.head_VD : gradients.embedding_VD;
  const at::Tensor normed_RD = rms_norm_again(saved.last_RD, saved.last_inverse_rms_R1, weights_.final_norm_D);
  const at::Tensor dnormed_RD =
      label_logprobs_backward(coefficients, normed_RD, weights_.head(), pack, budget_, saved.head, head_gradient);
  const at::Tensor dlast_RD =
      rms_norm_backward(dnormed_RD, saved.last_RD, saved.last_inverse_rms_R1, weights_.final_norm_D,
                        /*residual_TD=*/{}, gradients.final_norm_D);
  at::Tensor dx_TD = at::zeros({pack.token_count(), config_.hidden_size}, dlast_RD.options());
  dx_TD.index_copy_(0, pack.rows_R, dlast_RD);
  end_of(Part::head, times);
  const LayerContext context{pack, saved.rotary, config_, times};
  for (std::size_t i = weights_.layers.size(); i-- > 0;) {
    dx_TD = layer_backward(dx_TD, std::exchange(saved.layers[i], {}), weights_.layers[i], context, gradients.layers[i]);
  }
  gradients.embedding_VD.index_add_(0, pack.tokens_T, dx_TD.to(gradients.embedding_VD.scalar_type()));
  end_of(Part::embedding, times);
}

at::Tensor Llama::states(const Pack& pack) const {
  const RotaryTable rotary = rotary_table(pack, config_, dtype());
  const at::Tensor last_RD = hidden_states({pack, rotary, config_}, nullptr).index_select(0, pack.rows_R);
  return rms_norm(last_RD, weights_.final_norm_D, config_.rms_norm_eps).y_TD;
}

at::Tensor Llama::logits(const Pack& pack) const {
  const RotaryTable rotary = rotary_table(pack, config_, dtype());
  const at::Tensor x_TD = hidden_states({pack, rotary, config_}, nullptr);
  const at::Tensor logits_TV =
      project(rms_norm(x_TD, weights_.final_norm_D, config_.rms_norm_eps).y_TD, weights_.head());
  return logits_TV.to(accumulation_type(logits_TV.scalar_type()));
}

}  // namespace rrhf::model
