// The operations of ops.h and label_logprobs.h on a GPU, through the kernels of cuda_kernels.h.
//
// Defined where the program is built for CUDA (core/with_cuda.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "rrhf/model/ops.h"

namespace rrhf::model::cuda {

/// True where the kernels take `x`: float32, bfloat16 or float16 on a GPU, without gaps, in rows of whole vectors.
bool takes(const at::Tensor& x_TI);
/// The same for norms, whose rows must fit a block.
bool takes_norm(const at::Tensor& x_TD);
/// And for heads that are turned: halves of whole vectors.
bool takes_rotary(const at::Tensor& qkv_TQ, const LlamaConfig& config);
/// Both halves in rows of whole vectors.
bool takes_swiglu(const at::Tensor& gate_up_T2F);
/// Logits in float32.
bool takes_logits(const at::Tensor& logits_CV);

/// Of x, or, where residual is defined, of x + residual, which then replaces x.
RmsNormed rms_norm(const at::Tensor& x_TD, const at::Tensor& residual_TD, const at::Tensor& weight_D, double epsilon);
at::Tensor rms_norm_again(const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1, const at::Tensor& weight_D);
at::Tensor rms_norm_backward(const at::Tensor& dy_TD, const at::Tensor& x_TD, const at::Tensor& inverse_rms_T1,
                             const at::Tensor& weight_D, const at::Tensor& residual_TD, at::Tensor& weight_gradient_D);
void apply_rotary(at::Tensor& qkv_TQ, const RotaryTable& table, const LlamaConfig& config, bool inverse);
at::Tensor swiglu(const at::Tensor& gate_up_T2F);
void swiglu_backward(at::Tensor& gate_up_T2F, at::Tensor& dy_TF);

/// y[i] = x[index[i]] for rows of at least 4 bytes, whose own elements lie side by side. `index` is int32.
void gather_rows(const at::Tensor& x_TI, const at::Tensor& index_N, const at::Tensor& y_NI);

/// Writes the rows' log-normalizers; with `exponentiate` the logits become probabilities.
void log_normalizers(at::Tensor& logits_CV, at::Tensor& normalizer_C1, bool exponentiate);

/// The gradient of a chunk of logits in `dtype`, its rows as far apart as theirs: factor * probability, plus the
/// coefficient at each label. `x_CV` holds probabilities, or logits where their normalizers are defined. Labels of the
/// chunk's row r are begin[r] - begin[0] to begin[r + 1] - begin[0] of `label_L` and `coefficient_L`.
struct ChunkLabels {
  at::Tensor begin_P;
  at::Tensor label_L;
  at::Tensor coefficient_L;  ///< float32
};
at::Tensor logit_gradients(const at::Tensor& x_CV, const at::Tensor& normalizer_C1, const at::Tensor& factor_C1,
                           const ChunkLabels& labels, at::ScalarType dtype);

}  // namespace rrhf::model::cuda
