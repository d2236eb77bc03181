#include "rrhf/model/plain_ops.h"

#include <ATen/ATen.h>

namespace rrhf::model::plain {

RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon) {
  const at::Tensor x = x_TD.to(accumulation_type(x_TD.scalar_type()));
  const at::Tensor inverse_rms_T1 = x.square().mean(-1, true).add_(epsilon).rsqrt_();
  return {rms_norm_again(x_TD, inverse_rms_T1, weight_D), inverse_rms_T1};
}

RmsNormed add_rms_norm(at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D, double epsilon) {
  x_TD.add_(residual_TD);
  return rms_norm(x_TD, weight_D, epsilon);
}

at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D) {
  return (x_TD * inverse_rms_T1).to(x_TD.scalar_type()).mul_(weight_D);
}

at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, const at::Tensor& residual_TD, at::Tensor& weight_gradient_D) {
  const at::Tensor dy = dy_TD.to(inverse_rms_T1.scalar_type());
  const at::Tensor normed = x_TD * inverse_rms_T1;
  weight_gradient_D.add_((dy * normed).sum(0));
  const at::Tensor scaled = dy * weight_D;
  const at::Tensor along_T1 = (scaled * normed).mean(-1, true);
  at::Tensor dx_TD = (scaled - normed * along_T1).mul_(inverse_rms_T1).to(x_TD.scalar_type());
  return residual_TD.defined() ? dx_TD.add_(residual_TD) : dx_TD;
}

void apply_rotary(at::Tensor& qkv_TQ, const RotaryTable& table, const LlamaConfig& config, bool inverse) {
  const std::int64_t half = config.head_dim / 2;
  const std::int64_t turned = config.num_attention_heads + config.num_key_value_heads;
  at::Tensor heads_TNH = qkv_TQ.narrow(1, 0, turned * config.head_dim).view({-1, turned, config.head_dim});
  at::Tensor first = heads_TNH.narrow(2, 0, half), second = heads_TNH.narrow(2, half, half);
  const at::Tensor sin = inverse ? table.sin_T1H.neg() : table.sin_T1H;
  const at::Tensor turned_first = first * table.cos_T1H - second * sin;
  const at::Tensor turned_second = second * table.cos_T1H + first * sin;
  first.copy_(turned_first);
  second.copy_(turned_second);
}

at::Tensor swiglu(const at::Tensor& gate_up_T2F) {
  const std::int64_t f = gate_up_T2F.size(1) / 2;
  return at::silu(gate_up_T2F.narrow(1, 0, f)).mul_(gate_up_T2F.narrow(1, f, f));
}

void swiglu_backward(at::Tensor& gate_up_T2F, at::Tensor& dy_TF) {
  const std::int64_t f = gate_up_T2F.size(1) / 2;
  at::Tensor gate = gate_up_T2F.narrow(1, 0, f), up = gate_up_T2F.narrow(1, f, f);
  const at::Tensor silu = at::silu(gate);
  const at::Tensor dgate = at::silu_backward(dy_TF * up, gate);
  const at::Tensor dup = silu * dy_TF;
  dy_TF.copy_(silu.mul_(up));
  gate.copy_(dgate);
  up.copy_(dup);
}

}  // namespace rrhf::model::plain
