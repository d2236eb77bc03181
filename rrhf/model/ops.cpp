#include "rrhf/model/ops.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace rrhf::model {

at::ScalarType accumulation_type(at::ScalarType dtype) {
  return dtype == at::kBFloat16 || dtype == at::kHalf ? at::kFloat : dtype;
}

at::Tensor project(const at::Tensor& x_TI, const at::Tensor& weight_OI) { return at::mm(x_TI, weight_OI.t()); }

at::Tensor project_backward(const at::Tensor& dy_TO, const at::Tensor& x_TI, const at::Tensor& weight_OI,
                            at::Tensor& weight_gradient_OI) {
  if (weight_gradient_OI.scalar_type() == dy_TO.scalar_type()) {
    weight_gradient_OI.addmm_(dy_TO.t(), x_TI);
  } else {
    weight_gradient_OI.add_(at::mm(dy_TO.t(), x_TI));
  }
  return at::mm(dy_TO, weight_OI);
}

RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon) {
  const at::Tensor x = x_TD.to(accumulation_type(x_TD.scalar_type()));
  const at::Tensor inverse_rms_T1 = x.square().mean(-1, true).add_(epsilon).rsqrt_();
  return {rms_norm_again(x_TD, inverse_rms_T1, weight_D), inverse_rms_T1};
}

at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D) {
  return (x_TD * inverse_rms_T1).to(x_TD.scalar_type()).mul_(weight_D);
}

at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, at::Tensor& weight_gradient_D) {
  const at::Tensor dy = dy_TD.to(inverse_rms_T1.scalar_type());
  const at::Tensor normed = x_TD * inverse_rms_T1;
  weight_gradient_D.add_((dy * normed).sum(0));
  const at::Tensor scaled = dy * weight_D;
  const at::Tensor along_T1 = (scaled * normed).mean(-1, true);
  return (scaled - normed * along_T1).mul_(inverse_rms_T1).to(x_TD.scalar_type());
}

namespace {

// Angular frequencies of the head's pairs. Dynamic scaling raises the base once a sequence passes the positions the
// model was trained on (transformers, _compute_dynamic_ntk_parameters), for a query as one padded batch of its own.
std::vector<double> frequencies(const LlamaConfig& config, std::int64_t longest) {
  const auto dim = static_cast<double>(config.head_dim);
  double base = config.rope_theta;
  double divide = 1;
  if (config.rope_scaling.kind == RopeScaling::Kind::linear) divide = config.rope_scaling.factor;
  if (config.rope_scaling.kind == RopeScaling::Kind::dynamic) {
    const double factor = config.rope_scaling.factor, trained = static_cast<double>(config.max_position_embeddings);
    const double length = std::max(static_cast<double>(longest), trained);
    base *= std::pow(factor * length / trained - (factor - 1), dim / (dim - 2));
  }
  std::vector<double> result;
  for (std::int64_t pair = 0; pair < config.head_dim / 2; ++pair) {
    result.push_back(std::pow(base, -2.0 * static_cast<double>(pair) / dim) / divide);
  }
  return result;
}

}  // namespace

RotaryTable rotary_table(const Pack& pack, const LlamaConfig& config, at::ScalarType dtype) {
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor positions_T1 = pack.positions_T.to(at::kCPU, at::kDouble).unsqueeze(1);
  at::Tensor angles_TH;
  if (config.rope_scaling.kind == RopeScaling::Kind::dynamic) {
    angles_TH = at::empty({pack.token_count(), config.head_dim / 2}, options);
    for (const PackedQuery& query : pack.queries) {
      const std::int64_t size = query.response_rows().end() - query.prompt.begin;
      angles_TH.narrow(0, query.prompt.begin, size)
          .copy_(positions_T1.narrow(0, query.prompt.begin, size) *
                 at::tensor(frequencies(config, query.longest), options));
    }
  } else {
    angles_TH = positions_T1 * at::tensor(frequencies(config, 0), options);
  }
  const auto place = [&](const at::Tensor& table_TH) {
    return table_TH.unsqueeze(1).to(pack.positions_T.device(), accumulation_type(dtype));
  };
  return {place(angles_TH.cos()), place(angles_TH.sin())};
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

at::Tensor swiglu_backward(const at::Tensor& dy_TF, const at::Tensor& gate_up_T2F) {
  const std::int64_t f = gate_up_T2F.size(1) / 2;
  const at::Tensor gate = gate_up_T2F.narrow(1, 0, f), up = gate_up_T2F.narrow(1, f, f);
  at::Tensor gradient_T2F = at::empty_like(gate_up_T2F);
  gradient_T2F.narrow(1, 0, f).copy_(at::silu_backward(dy_TF * up, gate));
  gradient_T2F.narrow(1, f, f).copy_(at::silu(gate).mul_(dy_TF));
  return gradient_T2F;
}

}  // namespace rrhf::model
