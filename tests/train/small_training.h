// A few steps of a small model in any form.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "rrhf/train/pass.h"
#include "rrhf/train/trained_model.h"
#include "tests/train/small_model.h"
#include "tests/train/support.h"

namespace rrhf::train::testing {

struct Form {
  bool tied = false;
  at::ScalarType type = at::kDouble;
  optim::AdamWOptions optimizer = {.on_host = true};
  Place layer_inputs = Place::host;
  Update update = Update::step;
  std::int64_t tokens_per_pack = 12;  // three passes a step
  double max_grad_norm = 1;
  objective::ObjectiveOptions objective = {};
  std::optional<LoraOptions> lora = {};
  bool wide = false;  // rows and heads of whole vectors, as a GPU's kernels take them
};

struct Outcome {
  std::vector<double> losses;
  std::vector<double> norms;
  at::Tensor masters;  // all, as float64 of the CPU
  PartBytes bytes;
  double updating = 0;  // seconds of the passes
};

/// Five layers, so that what is kept of all is more than what is kept of a few.
inline model::LlamaConfig deep_config(bool tied) {
  model::LlamaConfig config = small_config(tied);
  config.num_hidden_layers = 5;
  config.initializer_range = 0.3;
  return config;
}

inline model::LlamaConfig wide_config(bool tied) {
  model::LlamaConfig config = deep_config(tied);
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  config.initializer_range = 0.1;
  return config;
}

// Three steps.
inline Outcome trained(at::Device device, const Form& form) {
  const EncodedSet set = set_of(
      {query_of(2, {2, 1, 3}), query_of(1, {1, 2}), query_of(3, {2, 2}), query_of(2, {1, 1, 1}), query_of(4, {1, 2})});
  const distributed::World world;
  const Groups groups = make_groups({}, world);
  const model::LlamaConfig config = form.wide ? wide_config(form.tied) : deep_config(form.tied);
  std::optional<AdapterForm> adapters;
  if (form.lora) adapters = {model::LoraLayout(config, *form.lora), &groups};
  TrainedModel model(
      config, at::TensorOptions().dtype(form.type).device(device), form.optimizer, groups,
      {.type = form.type == at::kBFloat16 ? std::optional(at::kBFloat16) : std::nullopt, .update = form.update},
      adapters);
  model.initialize(1);
  if (adapters) model.initialize_adapters(2);
  const objective::Objective objective(form.objective);
  const Pass pass(
      model.llama(), objective, world,
      {.tokens_per_pack = form.tokens_per_pack, .recompute = Recompute::layer, .layer_inputs = form.layer_inputs});
  Outcome outcome;
  for (int step = 0; step < 3; ++step) {
    StepPasses passes(set, {0, 1, 2, 3, 4}, pass.place(), IdlePasses::first);
    model.begin_step(1e-2);
    StepWork work;
    double loss = 0;
    for (const Totals& query :
         pass.accumulate_gradients([&] { return passes.next().value(); }, model.gradients(), work))
      loss += query.loss;
    outcome.losses.push_back(loss);
    outcome.updating += work.times.seconds(Part::optimizer);
    outcome.norms.push_back(model.gradient_norm());
    model.update(outcome.norms.back(), form.max_grad_norm);
  }
  outcome.bytes = model.bytes();
  const checkpoint::TrainingTensors tensors = model.tensors();
  std::vector<at::Tensor> masters;
  for (std::size_t unit = 0; unit < tensors.masters.units.size(); ++unit) {
    for (const at::Tensor& tensor : tensors.masters.whole(unit))
      masters.push_back(tensor.to(at::kCPU, at::kDouble).flatten().clone());
  }
  outcome.masters = at::cat(masters);
  return outcome;
}

}  // namespace rrhf::train::testing
