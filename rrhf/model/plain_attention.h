// Attention as a few ATen products a response: for any device and dtype, and what the faster path is tested against.
// Holds the scores of one response at a time, [heads, rows, prompt + rows].
#pragma once

#include "rrhf/model/attention.h"

namespace rrhf::model::plain {

at::Tensor attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config);
at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const Pack& pack,
                              const LlamaConfig& config);

}  // namespace rrhf::model::plain
