#include "rrhf/model/llama.h"

#include <ATen/ATen.h>

#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/model/attention.h"

namespace rrhf::model {
namespace {

at::Tensor layer_forward(at::Tensor x_TD, const LayerWeights& weights, const Pack& pack, const RotaryTable& rotary,
                         const LlamaConfig& config, LayerSaved* saved) {
  const RmsNormed attention_in = rms_norm(x_TD, weights.input_norm_D, config.rms_norm_eps);
  at::Tensor qkv_TQ = project(attention_in.y_TD, weights.qkv_QD);
  apply_rotary(qkv_TQ, rotary, config, false);
  at::Tensor attended_TA = attention(qkv_TQ, pack, config);
  at::Tensor middle_TD = project(attended_TA, weights.output_DA).add_(x_TD);

  const RmsNormed mlp_in = rms_norm(middle_TD, weights.post_norm_D, config.rms_norm_eps);
  at::Tensor gate_up_T2F = project(mlp_in.y_TD, weights.gate_up_2FD);
  at::Tensor out_TD = project(swiglu(gate_up_T2F), weights.down_DF).add_(middle_TD);
  if (saved != nullptr) {
    *saved = {.input_TD = std::move(x_TD),
              .input_inverse_rms_T1 = attention_in.inverse_rms_T1,
              .qkv_TQ = std::move(qkv_TQ),
              .attended_TA = std::move(attended_TA),
              .middle_TD = std::move(middle_TD),
              .middle_inverse_rms_T1 = mlp_in.inverse_rms_T1,
              .gate_up_T2F = std::move(gate_up_T2F)};
  }
  return out_TD;
}

// The gradient with respect to the layer's input, from that of its output.
at::Tensor layer_backward(const at::Tensor& dout_TD, const LayerSaved& saved, const LayerWeights& weights,
                          const Pack& pack, const RotaryTable& rotary, const LlamaConfig& config,
                          LayerWeights& gradients) {
  const at::Tensor dactivated_TF =
      project_backward(dout_TD, swiglu(saved.gate_up_T2F), weights.down_DF, gradients.down_DF);
  const at::Tensor dgate_up_T2F = swiglu_backward(dactivated_TF, saved.gate_up_T2F);
  const at::Tensor mlp_in_TD = rms_norm_again(saved.middle_TD, saved.middle_inverse_rms_T1, weights.post_norm_D);
  const at::Tensor dmlp_in_TD = project_backward(dgate_up_T2F, mlp_in_TD, weights.gate_up_2FD, gradients.gate_up_2FD);
  const at::Tensor dmiddle_TD = rms_norm_backward(dmlp_in_TD, saved.middle_TD, saved.middle_inverse_rms_T1,
                                                  weights.post_norm_D, gradients.post_norm_D)
                                    .add_(dout_TD);

  const at::Tensor dattended_TA =
      project_backward(dmiddle_TD, saved.attended_TA, weights.output_DA, gradients.output_DA);
  at::Tensor dqkv_TQ = attention_backward(dattended_TA, saved.qkv_TQ, pack, config);
  apply_rotary(dqkv_TQ, rotary, config, true);
  const at::Tensor attention_in_TD = rms_norm_again(saved.input_TD, saved.input_inverse_rms_T1, weights.input_norm_D);
  const at::Tensor dattention_in_TD = project_backward(dqkv_TQ, attention_in_TD, weights.qkv_QD, gradients.qkv_QD);
  return rms_norm_backward(dattention_in_TD, saved.input_TD, saved.input_inverse_rms_T1, weights.input_norm_D,
                           gradients.input_norm_D)
      .add_(dmiddle_TD);
}

}  // namespace

Llama::Llama(LlamaConfig config, Weights weights, HeadBudget budget)
    : config_(std::move(config)), weights_(std::move(weights)), budget_(budget) {}

at::Tensor Llama::hidden_states(const Pack& pack, const RotaryTable& rotary, std::vector<LayerSaved>* saved) const {
  if (saved != nullptr) saved->resize(weights_.layers.size());
  at::Tensor x_TD = weights_.embedding_VD.index_select(0, pack.tokens_T);
  for (std::size_t i = 0; i < weights_.layers.size(); ++i) {
    LayerSaved* keep = saved == nullptr ? nullptr : &(*saved)[i];
    x_TD = layer_forward(std::move(x_TD), weights_.layers[i], pack, rotary, config_, keep);
  }
  return x_TD;
}

std::vector<double> Llama::forward(const Pack& pack, Activations* saved) const {
  RotaryTable rotary = rotary_table(pack, config_, dtype());
  at::Tensor last_RD =
      hidden_states(pack, rotary, saved == nullptr ? nullptr : &saved->layers).index_select(0, pack.rows_R);
  RmsNormed normed = rms_norm(last_RD, weights_.final_norm_D, config_.rms_norm_eps);
  if (saved != nullptr) {
    saved->rotary = std::move(rotary);
    saved->last_RD = std::move(last_RD);
    saved->last_inverse_rms_R1 = normed.inverse_rms_T1;
  }
  return label_logprobs(normed.y_TD, weights_.head(), pack, budget_, saved == nullptr ? nullptr : &saved->head);
}

void Llama::backward(const Pack& pack, std::span<const double> coefficients, Activations& saved,
                     Weights& gradients) const {
  at::Tensor& head_gradient = gradients.head_VD.defined() ? gradients.head_VD : gradients.embedding_VD;
  const at::Tensor normed_RD = rms_norm_again(saved.last_RD, saved.last_inverse_rms_R1, weights_.final_norm_D);
  const at::Tensor dnormed_RD =
      label_logprobs_backward(coefficients, normed_RD, weights_.head(), pack, budget_, saved.head, head_gradient);
  const at::Tensor dlast_RD = rms_norm_backward(dnormed_RD, saved.last_RD, saved.last_inverse_rms_R1,
                                                weights_.final_norm_D, gradients.final_norm_D);
  at::Tensor dx_TD = at::zeros({pack.token_count(), config_.hidden_size}, dlast_RD.options());
  dx_TD.index_copy_(0, pack.rows_R, dlast_RD);
  for (std::size_t i = weights_.layers.size(); i-- > 0;) {
    const LayerSaved layer = std::exchange(saved.layers[i], {});
    dx_TD = layer_backward(dx_TD, layer, weights_.layers[i], pack, saved.rotary, config_, gradients.layers[i]);
  }
  gradients.embedding_VD.index_add_(0, pack.tokens_T, dx_TD.to(gradients.embedding_VD.scalar_type()));
}

at::Tensor Llama::logits(const Pack& pack) const {
  const at::Tensor x_TD = hidden_states(pack, rotary_table(pack, config_, dtype()), nullptr);
  const at::Tensor logits_TV =
      project(rms_norm(x_TD, weights_.final_norm_D, config_.rms_norm_eps).y_TD, weights_.head());
  return logits_TV.to(accumulation_type(logits_TV.scalar_type()));
}

}  // namespace rrhf::model
