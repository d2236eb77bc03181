#include "rrhf/model/decoder_layer.h"

#include <ATen/ATen.h>

#include "rrhf/model/attention.h"

namespace rrhf::model {

namespace {

// The layer up to its widest matrices. Without `keep` only what the rest of it needs is left, and lets go of the other
// matrices as early as can be: they are what an evaluation takes.
LayerSaved forward_to_gate_up(at::Tensor x_TD, const LayerWeights& weights, const LayerContext& context, bool keep) {
  const LlamaConfig& config = context.config;
  const Room room = keep ? context.kept : context.work;
  RmsNormed attention_in = rms_norm(x_TD, weights.input_norm_D, config.rms_norm_eps, context.work, room);
  end_of(Part::norms, context.times);
  at::Tensor qkv_TQ = layer_product(LayerProduct::qkv, attention_in.y_TD, weights, context.lora, room);
  attention_in.y_TD.reset();
  end_of(Part::linear, context.times);
  apply_rotary(qkv_TQ, context.rotary, config, false);
  Attended attended = attention(qkv_TQ, context.pack, config, room);
  end_of(Part::attention, context.times);
  if (!keep) qkv_TQ.reset();
  at::Tensor middle_TD = layer_product(LayerProduct::output, attended.out_TA, weights, context.lora, room);
  if (!keep) attended = {};
  end_of(Part::linear, context.times);
  RmsNormed mlp_in = add_rms_norm(middle_TD, x_TD, weights.post_norm_D, config.rms_norm_eps, context.work, room);
  if (!keep) x_TD.reset();
  end_of(Part::norms, context.times);
  at::Tensor gate_up_T2F = layer_product(LayerProduct::gate_up, mlp_in.y_TD, weights, context.lora,
                                         context.keep_gate_up ? room : context.work);
  end_of(Part::linear, context.times);
  return {.input_TD = std::move(x_TD),
          .input_inverse_rms_T1 = std::move(attention_in.inverse_rms_T1),
          .qkv_TQ = std::move(qkv_TQ),
          .attended_TA = std::move(attended.out_TA),
          .attention_normalizer_TN = std::move(attended.normalizer_TN),
          .middle_TD = std::move(middle_TD),
          .middle_inverse_rms_T1 = std::move(mlp_in.inverse_rms_T1),
          .gate_up_T2F = std::move(gate_up_T2F)};
}

}  // namespace

LayerSaved layer_recompute(at::Tensor x_TD, const LayerWeights& weights, const LayerContext& context) {
  return forward_to_gate_up(std::move(x_TD), weights, context, /*keep=*/true);
}

at::Tensor layer_forward(at::Tensor x_TD, const LayerWeights& weights, const LayerContext& context, LayerSaved* saved) {
  LayerSaved kept = forward_to_gate_up(std::move(x_TD), weights, context, saved != nullptr);
  const at::Tensor activated_TF = swiglu(kept.gate_up_T2F, context.work);
  if (saved == nullptr || !context.keep_gate_up) kept.gate_up_T2F.reset();
  end_of(Part::norms, context.times);
  at::Tensor out_TD = layer_product(LayerProduct::down, activated_TF, weights, context.lora, context.output);
  end_of(Part::linear, context.times);
  out_TD.add_(kept.middle_TD);
  end_of(Part::norms, context.times);
  if (saved != nullptr) *saved = std::move(kept);
  return out_TD;
}

namespace {

// The gradients of a product's weights, whose input was a norm's output, from what the norm left.
void add_weights_after_norm(const ProductBackward& product, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                            const at::Tensor& norm_D, const LayerContext& context, LayerWeights& gradients) {
  if (!product.needs_input(gradients)) return;
  end_of(Part::linear, context.times);
  const at::Tensor normed_TD = rms_norm_again(x_TD, inverse_rms_T1, norm_D, context.work);
  end_of(Part::norms, context.times);
  product.add_weights(normed_TD, gradients);
}

// The gradient with respect to the sum after attention, from that of the layer's output.
at::Tensor mlp_backward(const at::Tensor& dout_TD, LayerSaved& saved, const LayerWeights& weights,
                        const LayerContext& context, LayerWeights& gradients) {
  PartTimes* times = context.times;
  if (!saved.gate_up_T2F.defined()) {
    saved.gate_up_T2F =
        layer_product(LayerProduct::gate_up,
                      rms_norm_again(saved.middle_TD, saved.middle_inverse_rms_T1, weights.post_norm_D, context.work),
                      weights, context.lora, context.work);
  }
  const ProductBackward down(LayerProduct::down, dout_TD, weights, context.lora);
  at::Tensor activated_TF = down.input(context.work);
  end_of(Part::linear, times);
  swiglu_backward(saved.gate_up_T2F, activated_TF);  // the first is now its gradient, the second the activation
  end_of(Part::norms, times);
  down.add_weights(activated_TF, gradients);
  activated_TF.reset();
  end_of(Part::linear, times);
  const ProductBackward gate_up(LayerProduct::gate_up, saved.gate_up_T2F, weights, context.lora);
  add_weights_after_norm(gate_up, saved.middle_TD, saved.middle_inverse_rms_T1, weights.post_norm_D, context,
                         gradients);
  const at::Tensor dnormed_TD = gate_up.input(context.work);
  saved.gate_up_T2F.reset();
  end_of(Part::linear, times);
  at::Tensor dmiddle_TD = rms_norm_backward(dnormed_TD, saved.middle_TD, saved.middle_inverse_rms_T1,
                                            weights.post_norm_D, dout_TD, gradients.post_norm_D, context.work);
  end_of(Part::norms, times);
  return dmiddle_TD;
}

}  // namespace

at::Tensor layer_backward(const at::Tensor& dout_TD, LayerSaved saved, const LayerWeights& weights,
                          const LayerContext& context, LayerWeights& gradients) {
  PartTimes* times = context.times;
  const at::Tensor dmiddle_TD = mlp_backward(dout_TD, saved, weights, context, gradients);
  const ProductBackward output(LayerProduct::output, dmiddle_TD, weights, context.lora);
  output.add_weights(saved.attended_TA, gradients);
  const at::Tensor dattended_TA = output.input(context.work);
  end_of(Part::linear, times);
  at::Tensor dqkv_TQ =
      attention_backward(dattended_TA, saved.qkv_TQ, {saved.attended_TA, saved.attention_normalizer_TN}, context.pack,
                         context.config, context.deterministic, context.work);
  apply_rotary(dqkv_TQ, context.rotary, context.config, true);
  end_of(Part::attention, times);
  const ProductBackward qkv(LayerProduct::qkv, dqkv_TQ, weights, context.lora);
  add_weights_after_norm(qkv, saved.input_TD, saved.input_inverse_rms_T1, weights.input_norm_D, context, gradients);
  const at::Tensor dnormed_TD = qkv.input(context.work);
  end_of(Part::linear, times);
  at::Tensor dx_TD = rms_norm_backward(dnormed_TD, saved.input_TD, saved.input_inverse_rms_T1, weights.input_norm_D,
                                       dmiddle_TD, gradients.input_norm_D);
  end_of(Part::norms, times);
  return dx_TD;
}

}  // namespace rrhf::model
