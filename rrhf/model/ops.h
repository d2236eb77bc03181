// The layer's small operations, each with its backward pass written out.
//
// Nothing here builds an autograd graph: the decoder's structure is fixed, and a backward pass by hand writes gradients
// in place and keeps only what it needs. Sums and squares of bfloat16 inputs are taken in float32.
// A room given is where products and the loops of our own put what is returned.
// float32 and float64 on the CPU go through loops of our own (cpu_kernels.h), all but float64 on a GPU through kernels
// of our own (cuda_ops.h), all else through ATen (plain_ops.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "rrhf/model/arena.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// float32 for bfloat16 and float16, the dtype itself otherwise.
at::ScalarType accumulation_type(at::ScalarType dtype);

/// y = x W^T.
at::Tensor project(const at::Tensor& x_TI, const at::Tensor& weight_OI, Room room = {});

/// dx = dy W.
at::Tensor project_backward(const at::Tensor& dy_TO, const at::Tensor& weight_OI, Room room = {});

/// `weight_gradient_OI` += dy^T x, in its own dtype.
void add_weight_gradient(const at::Tensor& dy_TO, const at::Tensor& x_TI, at::Tensor& weight_gradient_OI);

/// RMSNorm (Zhang and Sennrich 2019): y = weight * x / sqrt(mean(x^2) + eps).
struct RmsNormed {
  at::Tensor y_TD;
  at::Tensor inverse_rms_T1;  ///< in the accumulation dtype; what the backward pass needs besides x
};
RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& weight_D, double epsilon, Room room = {},
                   Room inverse_room = {});

/// x += residual, in place; then its RMSNorm.
RmsNormed add_rms_norm(at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D, double epsilon,
                       Room room = {}, Room inverse_room = {});

/// y again, from what was kept.
at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D,
                          Room room = {});

/// dx, plus `residual_TD` where it is defined: the gradient that reaches x around the norm.
/// `weight_gradient_D`, where it is defined, += the weight's gradient.
at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, const at::Tensor& residual_TD, at::Tensor& weight_gradient_D,
                             Room room = {});

/// Rotary angles of a pack's positions (Su et al. 2021), H: head_dim / 2.
struct RotaryTable {
  at::Tensor cos_T1H;  ///< in the accumulation dtype
  at::Tensor sin_T1H;
};
RotaryTable rotary_table(const Pack& pack, const LlamaConfig& config, at::ScalarType dtype);

/// Angular frequencies of a head's pairs. Dynamic scaling raises the base once a sequence of `longest` tokens passes
/// the positions the model was trained on (transformers, _compute_dynamic_ntk_parameters).
std::vector<double> rotary_frequencies(const LlamaConfig& config, std::int64_t longest);

/// Angles of single tokens, each the last of its sequence so far: head_dim / 2 a token, one behind the other.
std::vector<double> rotary_angles_of_steps(std::span<const std::int64_t> positions, const LlamaConfig& config);
/// Their table, of the angles where it is to be used.
RotaryTable rotary_table_of_angles(const at::Tensor& angles, const LlamaConfig& config, at::ScalarType dtype);

/// Turns the query and key heads of `qkv_TQ` in place. `inverse` turns back, which is also the backward pass.
void apply_rotary(at::Tensor& qkv_TQ, const RotaryTable& table, const LlamaConfig& config, bool inverse);

/// silu(gate) * up for rows [gate | up].
at::Tensor swiglu(const at::Tensor& gate_up_T2F, Room room = {});

/// In place, so that the widest matrices of a layer exist once: `gate_up_T2F` becomes its gradient, and the gradient
/// `dy_TF` becomes swiglu(gate_up), which the weight gradient of the next projection needs.
void swiglu_backward(at::Tensor& gate_up_T2F, at::Tensor& dy_TF);

}  // namespace rrhf::model
