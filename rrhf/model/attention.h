// Attention over a pack: a prompt attends causally to itself, a response to its whole prompt and causally to itself.
//
// Grouped queries: query head h reads key/value head h / (heads / kv_heads). Scores are scaled by 1/sqrt(head_dim).
// On the CPU it goes tile by tile through loops of our own, so that memory does not grow with the square
// of a response's length, in float32 for narrower dtypes; bfloat16 and float16 on a GPU go
// through one call of flash attention (cuda_attention.h); all else through ATen (plain_attention.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "rrhf/model/arena.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// A: num_attention_heads * head_dim, N: num_attention_heads.
struct Attended {
  at::Tensor out_TA;
  at::Tensor normalizer_TN;  ///< log-sum-exp of each row's scores, for the backward pass; undefined where not needed
};

/// The heads' outputs, on the CPU in `room`. `qkv_TQ` is rotated already. Probabilities are not kept.
Attended attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config, Room room = {});

/// The gradient with respect to qkv_TQ, from that of `attended.out_TA`. Probabilities are computed again.
/// `deterministic` as in LayerContext; on the CPU in `room`.
at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const Attended& attended,
                              const Pack& pack, const LlamaConfig& config, bool deterministic = true, Room room = {});

}  // namespace rrhf::model
