// The small operations of ops.h as a few ATen calls each: for any device and dtype, and what faster paths are tested
// against.
#pragma once

#include "rrhf/model/ops.h"

namespace rrhf::model::plain {

RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon);
RmsNormed add_rms_norm(at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D, double epsilon);
at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D);
at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, const at::Tensor& residual_TD, at::Tensor& weight_gradient_D);
void apply_rotary(at::Tensor& qkv_TQ, const RotaryTable& table, const LlamaConfig& config, bool inverse);
at::Tensor swiglu(const at::Tensor& gate_up_T2F);
void swiglu_backward(at::Tensor& gate_up_T2F, at::Tensor& dy_TF);

}  // namespace rrhf::model::plain
