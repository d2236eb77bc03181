// One decoder layer of a LLaMA over a pack, forward and backward.
#pragma once

#include <ATen/core/Tensor.h>

#include "rrhf/core/part_times.h"
#include "rrhf/model/arena.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/low_rank.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/pack.h"
#include "rrhf/model/weights.h"

namespace rrhf::model {

/// What a layer's backward pass needs. What can be had again in one cheap pass over memory is not kept.
struct LayerSaved {
  at::Tensor input_TD;
  at::Tensor input_inverse_rms_T1;
  at::Tensor qkv_TQ;  ///< after rotary embedding
  at::Tensor attended_TA;
  at::Tensor attention_normalizer_TN;  ///< undefined where attention does not need it
  at::Tensor middle_TD;                ///< after attention's residual
  at::Tensor middle_inverse_rms_T1;
  at::Tensor gate_up_T2F;  ///< undefined: it is computed again
};

/// What all layers of a pass share.
struct LayerContext {
  const Pack& pack;
  const RotaryTable& rotary;
  const LlamaConfig& config;
  const LoraLayout* lora = nullptr;  ///< null: without adapters
  PartTimes* times = nullptr;        ///< read after each part, if given
  bool deterministic = true;  ///< a GPU's sums in the same order each time, else in whatever order its blocks end
  Room kept;                  ///< for matrices that layer_forward() saves
  Room output;                ///< for the layer's output
  Room work;                  ///< for matrices that are done with when the layer is
  bool keep_gate_up = true;   ///< else layer_backward() computes them again
};

/// The layer's output, of the same shape as `x_TD`. With `saved` the backward pass is prepared.
at::Tensor layer_forward(at::Tensor x_TD, const LayerWeights& weights, const LayerContext& context, LayerSaved* saved);

/// What layer_forward() saves, computed again from the layer's input.
LayerSaved layer_recompute(at::Tensor x_TD, const LayerWeights& weights, const LayerContext& context);

/// The gradient with respect to the layer's input, from that of its output. Adds to those of `gradients` that there
/// are; uses up `saved`, whose tensors must have no other owner.
at::Tensor layer_backward(const at::Tensor& dout_TD, LayerSaved saved, const LayerWeights& weights,
                          const LayerContext& context, LayerWeights& gradients);

}  // namespace rrhf::model
