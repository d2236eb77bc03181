#include "rrhf/model/plain_ops.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace rrhf::model::plain {
namespace {

// On CPUs so many rows are taken at a time: the copies in between, float32 for narrow matrices, are then small beside
// the matrices, and stay in the cache.
constexpr std::int64_t rows_at_a_time = 256;

// Calls visit(narrowed) with shares of the rows; narrowed(x) are those of x.
template <class F>
void for_rows(const at::Tensor& matrix, F&& visit) {
  const std::int64_t rows = matrix.size(0), most = matrix.is_cpu() ? rows_at_a_time : std::max<std::int64_t>(rows, 1);
  for (std::int64_t begin = 0; begin < rows; begin += most) {
    visit([begin, count = std::min(most, rows - begin)](const at::Tensor& x) { return x.narrow(0, begin, count); });
  }
}

}  // namespace

RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon) {
  const at::ScalarType wide = accumulation_type(x_TD.scalar_type());
  RmsNormed normed{{}, at::empty({x_TD.size(0), 1}, x_TD.options().dtype(wide))};
  for_rows(x_TD, [&](auto narrowed) {
    narrowed(normed.inverse_rms_T1).copy_(narrowed(x_TD).to(wide).square().mean(-1, true).add_(epsilon).rsqrt_());
  });
  normed.y_TD = rms_norm_again(x_TD, normed.inverse_rms_T1, weight_D);
  return normed;
}

RmsNormed add_rms_norm(at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D, double epsilon) {
  x_TD.add_(residual_TD);
  return rms_norm(x_TD, weight_D, epsilon);
}

at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D) {
  at::Tensor y_TD = at::empty_like(x_TD);
  for_rows(x_TD,
           [&](auto narrowed) { narrowed(y_TD).copy_(narrowed(x_TD) * narrowed(inverse_rms_T1)).mul_(weight_D); });
  return y_TD;
}

at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, const at::Tensor& residual_TD, at::Tensor& weight_gradient_D) {
  at::Tensor dx_TD = at::empty_like(x_TD);
  for_rows(x_TD, [&](auto narrowed) {
    const at::Tensor inverse = narrowed(inverse_rms_T1);
    const at::Tensor dy = narrowed(dy_TD).to(inverse.scalar_type()), normed = narrowed(x_TD) * inverse;
    if (weight_gradient_D.defined()) weight_gradient_D.add_((dy * normed).sum(0));
    const at::Tensor scaled = dy * weight_D;
    const at::Tensor along = (scaled * normed).mean(-1, true);
    at::Tensor dx = narrowed(dx_TD);
    dx.copy_((scaled - normed * along).mul_(inverse));
    if (residual_TD.defined()) dx.add_(narrowed(residual_TD));
  });
  return dx_TD;
}

void apply_rotary(at::Tensor& qkv_TQ, const RotaryTable& table, const LlamaConfig& config, bool inverse) {
  const std::int64_t half = config.head_dim / 2;
  const std::int64_t turned = config.num_attention_heads + config.num_key_value_heads;
  for_rows(qkv_TQ, [&](auto narrowed) {
    const at::Tensor heads =
        narrowed(qkv_TQ).narrow(1, 0, turned * config.head_dim).view({-1, turned, config.head_dim});
    at::Tensor first = heads.narrow(2, 0, half), second = heads.narrow(2, half, half);
    const at::Tensor cos = narrowed(table.cos_T1H),
                     sin = inverse ? narrowed(table.sin_T1H).neg() : narrowed(table.sin_T1H);
    const at::Tensor turned_first = first * cos - second * sin;
    const at::Tensor turned_second = second * cos + first * sin;
    first.copy_(turned_first);
    second.copy_(turned_second);
  });
}

at::Tensor swiglu(const at::Tensor& gate_up_T2F) {
  const std::int64_t f = gate_up_T2F.size(1) / 2;
  at::Tensor y_TF = at::empty({gate_up_T2F.size(0), f}, gate_up_T2F.options());
  for_rows(gate_up_T2F, [&](auto narrowed) {
    const at::Tensor gate_up = narrowed(gate_up_T2F);
    narrowed(y_TF).copy_(at::silu(gate_up.narrow(1, 0, f)).mul_(gate_up.narrow(1, f, f)));
  });
  return y_TF;
}

void swiglu_backward(at::Tensor& gate_up_T2F, at::Tensor& dy_TF) {
  const std::int64_t f = gate_up_T2F.size(1) / 2;
  for_rows(gate_up_T2F, [&](auto narrowed) {
    const at::Tensor gate_up = narrowed(gate_up_T2F);
    at::Tensor gate = gate_up.narrow(1, 0, f), up = gate_up.narrow(1, f, f), dy = narrowed(dy_TF);
    const at::Tensor silu = at::silu(gate);
    const at::Tensor dgate = at::silu_backward(dy * up, gate);
    const at::Tensor dup = silu * dy;
    dy.copy_(silu.mul_(up));
    gate.copy_(dgate);
    up.copy_(dup);
  });
}

}  // namespace rrhf::model::plain
