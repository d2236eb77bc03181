// Attention over a pack: a prompt attends causally to itself, a response to its whole prompt and causally to itself.
//
// Grouped queries: query head h reads key/value head h / (heads / kv_heads). Scores are scaled by 1/sqrt(head_dim).
// Plain ATen products per segment, for any device and dtype: the reference every faster path is tested against.
#pragma once

#include <ATen/core/Tensor.h>

#include "rrhf/model/llama_config.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// The heads' outputs, A: num_attention_heads * head_dim. `qkv_TQ` is rotated already. Probabilities are not kept.
at::Tensor attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config);

/// The gradient with respect to qkv_TQ. Probabilities are computed again.
at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const Pack& pack,
                              const LlamaConfig& config);

}  // namespace rrhf::model
