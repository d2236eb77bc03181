// A LLaMA over packs: summed log-probs of every response forward, gradients backward.
//
// Layers run one after the other, each a forward and a backward function over what the forward kept. The order of work
// is one loop in each direction, so that a policy (keep activations, recompute them, gather sharded weights) has one
// place. Each loop asks for a unit of the weights before it uses them (model/units.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/model/arena.h"
#include "rrhf/model/decoder_layer.h"
#include "rrhf/model/label_logprobs.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/pack.h"
#include "rrhf/model/parked_inputs.h"
#include "rrhf/model/units.h"
#include "rrhf/model/weights.h"

namespace rrhf::model {

/// What a forward pass over one pack keeps for its backward pass.
struct Activations {
  Recompute recompute = Recompute::none;  ///< what is computed again instead of kept: set before the forward pass
  bool deterministic = true;              ///< sums of the backward pass in an order of their own (LayerContext)
  ParkedInputs* parked = nullptr;         ///< with Recompute::layer: where inputs wait, if not here
  Arena* arena = nullptr;                 ///< on the CPU: where matrices lie, if not each by itself
  RotaryTable rotary;
  std::vector<LayerSaved> layers;
  std::vector<std::int64_t> taken;  ///< of the arena, up to each layer
  at::Tensor last_RD;               ///< the last layer's output at the label rows
  at::Tensor last_inverse_rms_R1;
  HeadSaved head;
};

/// Const calls are safe from several threads where all weights are in memory.
class Llama {
 public:
  Llama(LlamaConfig config, Weights weights, std::optional<HeadBudget> budget = {});
  /// Weights kept by someone else, asked for unit by unit. Without a budget: the device's head_budget().
  /// With `lora`, each layer's weights have the adapters of that layout beside them.
  Llama(LlamaConfig config, std::shared_ptr<Parameters> parameters, std::optional<HeadBudget> budget = {},
        std::optional<LoraLayout> lora = {});

  const LlamaConfig& config() const noexcept { return config_; }
  const Weights& weights() const noexcept { return parameters_->weights(); }     ///< as Parameters::weights()
  const LoraLayout* lora() const noexcept { return lora_ ? &*lora_ : nullptr; }  ///< null: without adapters
  at::Device device() const { return parameters_->options().device(); }
  at::ScalarType dtype() const { return parameters_->options().dtype().toScalarType(); }

  /// The summed log-prob of each response of the pack. Without `saved` nothing is kept.
  /// Token ids must lie within the vocabulary (the caller checks its tokenizer once).
  /// `times`, if given, is read after each part.
  std::vector<double> forward(const Pack& pack, Activations* saved = nullptr, PartTimes* times = nullptr) const;

  /// Adds to `gradients` those of sum over responses of coefficient * summed log-prob, of each tensor that is defined
  /// there: of frozen weights none is. Uses up `saved`.
  void backward(const Pack& pack, std::span<const double> coefficients, Activations& saved, Gradients& gradients,
                PartTimes* times = nullptr) const;

  /// Ask for units as the passes do and compute nothing: for a process that must keep step with others that compute.
  void idle_forward(PartTimes* times = nullptr) const;
  void idle_backward(Gradients& gradients, PartTimes* times = nullptr) const;

  /// The normed states at the pack's rows_R, [R, D]: what a head reads. No gradient is prepared.
  at::Tensor states(const Pack& pack) const;

  /// Logits of every row of the pack, [T, V] in the accumulation dtype: for tests and tools, not for training.
  at::Tensor logits(const Pack& pack) const;

 private:
  at::Tensor hidden_states(LayerContext context, Activations* saved) const;
  at::Tensor head_backward(const Pack& pack, std::span<const double> coefficients, Activations& saved,
                           Gradients& gradients) const;
  const Weights& need(std::size_t unit, std::optional<std::size_t> next, PartTimes* times) const;

  LlamaConfig config_;
  Units units_;
  std::shared_ptr<Parameters> parameters_;
  HeadBudget budget_;
  std::optional<LoraLayout> lora_;
};

}  // namespace rrhf::model
