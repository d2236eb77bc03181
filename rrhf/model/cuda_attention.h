// Attention over a pack in one variable-length call of LibTorch's flash attention. Defined where the program is built
// for CUDA (core/with_cuda.h).
#pragma once

#include "rrhf/model/attention.h"

namespace rrhf::model::cuda {

/// True where flash attention takes it: bfloat16 or float16 on a GPU, heads of up to 256 elements, a multiple of 8.
bool takes_attention(const at::Tensor& qkv_TQ, const LlamaConfig& config);

/// As model::attention() and attention_backward().
Attended attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config);
at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const Attended& attended,
                              const Pack& pack, const LlamaConfig& config, bool deterministic);

}  // namespace rrhf::model::cuda
