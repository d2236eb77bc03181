#include "rrhf/model/cuda_ops.h"

#include <ATen/ATen.h>

#include "rrhf/model/cuda_binding.h"
#include "rrhf/model/cuda_kernels.h"

namespace rrhf::model::cuda {

bool takes(const at::Tensor& x_TI) {
  return x_TI.is_cuda() && x_TI.is_contiguous() && has_element(x_TI.scalar_type()) &&
         x_TI.size(-1) % lanes(element_of(x_TI)) == 0;
}

bool takes_norm(const at::Tensor& x_TD) { return takes(x_TD) && x_TD.size(1) <= widest_norm; }

bool takes_rotary(const at::Tensor& qkv_TQ, const LlamaConfig& config) {
  return takes(qkv_TQ) && config.head_dim / 2 % lanes(element_of(qkv_TQ)) == 0;
}

bool takes_swiglu(const at::Tensor& gate_up_T2F) {
  return takes(gate_up_T2F) && gate_up_T2F.size(1) / 2 % lanes(element_of(gate_up_T2F)) == 0;
}

bool takes_logits(const at::Tensor& logits_CV) {
  return logits_CV.is_cuda() && logits_CV.scalar_type() == at::kFloat && logits_CV.stride(1) == 1;
}

RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D, double epsilon) {
  RmsNormed normed{at::empty_like(x_TD), at::empty({x_TD.size(0), 1}, x_TD.options().dtype(at::kFloat))};
  const void* residual = residual_TD.defined() ? residual_TD.const_data_ptr() : nullptr;
  void* sum = residual_TD.defined() ? x_TD.mutable_data_ptr() : nullptr;
  rms_norm(rows_of(x_TD), x_TD.const_data_ptr(), residual, sum, weight_D.const_data_ptr(),
           normed.y_TD.mutable_data_ptr(), normed.inverse_rms_T1.mutable_data_ptr<float>(), x_TD.size(1), epsilon);
  return normed;
}

at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D) {
  at::Tensor y_TD = at::empty_like(x_TD);
  rms_norm_again(rows_of(x_TD), x_TD.const_data_ptr(), inverse_rms_T1.const_data_ptr<float>(),
                 weight_D.const_data_ptr(), y_TD.mutable_data_ptr(), x_TD.size(1));
  return y_TD;
}

at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, const at::Tensor& residual_TD, at::Tensor& weight_gradient_D) {
  at::Tensor dx_TD = at::empty_like(x_TD);
  const at::Tensor partial_PD =
      at::empty({norm_partials(x_TD.size(0)), x_TD.size(1)}, x_TD.options().dtype(at::kFloat));
  rms_norm_backward(rows_of(x_TD), dy_TD.const_data_ptr(), x_TD.const_data_ptr(),
                    inverse_rms_T1.const_data_ptr<float>(), weight_D.const_data_ptr(),
                    residual_TD.defined() ? residual_TD.const_data_ptr() : nullptr, dx_TD.mutable_data_ptr(),
                    partial_PD.mutable_data_ptr<float>(), x_TD.size(1));
  add_column_sums({element_of(weight_gradient_D), partial_PD.size(0), stream_of(partial_PD)},
                  partial_PD.const_data_ptr<float>(), partial_PD.size(1), weight_gradient_D.mutable_data_ptr());
  return dx_TD;
}

void apply_rotary(at::Tensor& qkv_TQ, const RotaryTable& table, const LlamaConfig& config, bool inverse) {
  rotate(rows_of(qkv_TQ), qkv_TQ.mutable_data_ptr(), qkv_TQ.size(1), table.cos_T1H.const_data_ptr<float>(),
         table.sin_T1H.const_data_ptr<float>(), config.num_attention_heads + config.num_key_value_heads,
         config.head_dim / 2, inverse ? -1.0F : 1.0F);
}

at::Tensor swiglu(const at::Tensor& gate_up_T2F) {
  const std::int64_t f = gate_up_T2F.size(1) / 2;
  at::Tensor y_TF = at::empty({gate_up_T2F.size(0), f}, gate_up_T2F.options());
  swiglu(rows_of(gate_up_T2F), gate_up_T2F.const_data_ptr(), y_TF.mutable_data_ptr(), f);
  return y_TF;
}

void swiglu_backward(at::Tensor& gate_up_T2F, at::Tensor& dy_TF) {
  swiglu_backward(rows_of(gate_up_T2F), gate_up_T2F.mutable_data_ptr(), dy_TF.mutable_data_ptr(), dy_TF.size(1));
}

void gather_rows(const at::Tensor& x_TI, const at::Tensor& index_N, const at::Tensor& y_NI) {
  const std::int64_t element = x_TI.element_size(), elements = y_NI.stride(0);
  gather_rows(x_TI.const_data_ptr(), x_TI.stride(0) * element, index_N.const_data_ptr<std::int32_t>(),
              y_NI.mutable_data_ptr(), y_NI.size(0), elements * element, stream_of(x_TI));
}

void log_normalizers(at::Tensor& logits_CV, at::Tensor& normalizer_C1, bool exponentiate) {
  log_normalizers(logits_CV.mutable_data_ptr<float>(), logits_CV.stride(0), logits_CV.size(0), logits_CV.size(1),
                  normalizer_C1.mutable_data_ptr<float>(), exponentiate, stream_of(logits_CV));
}

at::Tensor logit_gradients(const at::Tensor& x_CV, const at::Tensor& normalizer_C1, const at::Tensor& factor_C1,
                           const ChunkLabels& labels, at::ScalarType dtype) {
  at::Tensor gradient_CV = at::empty_strided(x_CV.sizes(), x_CV.strides(), x_CV.options().dtype(dtype));
  const RowLabels in_rows{.begin = labels.begin_P.const_data_ptr<std::int64_t>(),
                          .ids = labels.label_L.const_data_ptr<std::int64_t>(),
                          .coefficients = labels.coefficient_L.const_data_ptr<float>()};
  logit_gradients(rows_of(gradient_CV), x_CV.const_data_ptr<float>(), x_CV.stride(0), x_CV.size(1),
                  normalizer_C1.defined() ? normalizer_C1.const_data_ptr<float>() : nullptr,
                  factor_C1.const_data_ptr<float>(), in_rows, gradient_CV.mutable_data_ptr(), gradient_CV.stride(0));
  return gradient_CV;
}

}  // namespace rrhf::model::cuda
