// The model in training as one rank holds it: its part of weights, gradients and optimizer state.
//
// One rank alone holds one part, the whole; in memory and work that is a model without parts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/checkpoint/training_state.h"
#include "rrhf/model/llama.h"
#include "rrhf/optim/adamw.h"
#include "rrhf/train/groups.h"
#include "rrhf/train/host_gradients.h"
#include "rrhf/train/layer_updates.h"
#include "rrhf/train/model_parts.h"

namespace rrhf::train {

/// Bytes of this rank's parts.
struct PartBytes {
  std::int64_t weights = 0;  ///< and adapters
  std::int64_t gradients = 0;
  std::int64_t optimizer = 0;  ///< moments, and masters where there are any
  bool on_host = false;        ///< gradients and optimizer, while weights are on a GPU
};

/// What becomes of gradients.
struct GradientForm {
  std::optional<at::ScalarType> type;  ///< what they are summed in; by default the accumulation type of the weights
  Update update = Update::step;        ///< layer: the pass updates the weights, and the norm comes too late to clip by
};

/// Adapters, which are trained instead of the weights. Every rank has all of them: `groups` are those of a replicated
/// model, whatever the weights' are, never null, and must outlive the model.
struct AdapterForm {
  model::LoraLayout layout;
  const Groups* groups = nullptr;
};

/// Every rank makes the same calls.
class TrainedModel {
 public:
  /// Zero weights of the dtype and device of `options`, and zero adapters. With optimizer.on_host and weights on a GPU
  /// gradients are kept in the host's memory, and the groups must be of one rank. `groups` must outlive this. Throws
  /// Error for Update::layer in groups of several ranks or with optimizer.on_host.
  TrainedModel(const model::LlamaConfig& config, at::TensorOptions options, optim::AdamWOptions optimizer,
               const Groups& groups, const GradientForm& gradients = {}, std::optional<AdapterForm> adapters = {});
  TrainedModel(const TrainedModel&) = delete;
  TrainedModel& operator=(const TrainedModel&) = delete;

  /// Reads this rank's part of a folder's weights. Throws InputError as checkpoint::WeightReader does.
  void load(const std::filesystem::path& folder);

  /// Random weights from a seed, the same for any number of ranks.
  void initialize(std::uint64_t seed);

  /// Adapters as training begins with them (model::draw_adapters()): for a model that has some.
  void initialize_adapters(std::uint64_t seed);

  /// What is trained, moments and the number of steps of a checkpoint; beside adapters, whose checkpoints hold no base,
  /// load() comes first. Throws InputError when it is another model's.
  checkpoint::TrainingFacts resume(const std::filesystem::path& checkpoint);

  /// The largest absolute weight of this rank's part, adapters' too; infinite or NaN where one is.
  double largest_weight() const;

  const model::Llama& llama() const noexcept { return llama_; }
  PartBytes bytes() const;

  /// What follows is a step: gradients are zero.
  void begin_step(double learning_rate);
  /// Where the passes of a step add their gradients; with Update::layer one pass, which updates the weights.
  model::Gradients& gradients() noexcept { return *gradients_; }

  /// The norm over all gradients, once they are complete: the same bits on every rank.
  double gradient_norm() const;

  /// Clips the gradients, whose norm is given, and updates the weights with them. With Update::layer they are updated:
  /// throws Error for a max_norm above 0, which is no clipping.
  void update(double norm, double max_norm);

  /// For checkpoints, of what is trained: the masters, or the weights where these are their own, and the moments. What
  /// is handed out whole of one kind is valid until the next of any kind is asked for.
  checkpoint::TrainingTensors tensors() const;

 private:
  const ModelParts& trained() const noexcept { return adapters_ ? *adapters_ : model_; }
  const Groups& trained_groups() const noexcept { return *trained_groups_; }
  std::unique_ptr<model::Gradients> make_gradients(at::TensorOptions weights, at::TensorOptions kept, Update update);
  void masters_changed();

  const Groups* trained_groups_;
  ModelParts model_;
  std::vector<at::Tensor> weight_parts_;
  std::optional<ModelParts> adapters_;
  std::vector<at::Tensor> adapter_parts_;
  std::vector<at::Tensor> gradient_parts_;  // of what is trained
  optim::AdamW optimizer_;                  // of the weights, or of the adapters
  std::shared_ptr<GatheredParameters> parameters_;
  std::unique_ptr<model::Gradients> gradients_;
  HostGradients* host_gradients_ = nullptr;  // the same, where they are on the host
  LayerUpdates* layer_updates_ = nullptr;    // the same, where none are kept
  double learning_rate_ = 0;
  model::Llama llama_;
};

}  // namespace rrhf::train
