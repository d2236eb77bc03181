// Updates that follow the backward pass layer by layer, so that no gradients are kept (optimizer.update layer).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/data/step_plan.h"
#include "rrhf/distributed/unit_rooms.h"
#include "rrhf/model/units.h"
#include "rrhf/optim/adamw.h"
#include "rrhf/train/encoded_set.h"
#include "rrhf/train/model_parts.h"

namespace rrhf::train {

/// Gradients that stand only while their unit is computed: the optimizer takes them as soon as the pass is done with
/// the unit, whose weights the rest of the pass does not read. So a step is one pass, and the norm of its gradients is
/// known only when it is too late to clip by it. Keeps references. One thread.
class LayerUpdates : public model::Gradients {
 public:
  /// `optimizer` has the units of a whole model as its parameters; gradients are made with `options`.
  LayerUpdates(const ModelParts& model, optim::AdamW& optimizer, at::TensorOptions options);

  /// The next pass is a step at that rate.
  void begin_step(double learning_rate);

  void need(std::size_t unit) override;
  /// Throws Error where the unit was updated in this step before.
  void done(std::size_t unit) override;
  Part part() const noexcept override { return Part::optimizer; }

  /// Of the gradients of the step's pass, once it is over; waits for the device. Throws Error without a pass.
  double sum_of_squares() const;

  /// Bytes of the gradients that stand at once.
  std::int64_t bytes() const;

 private:
  // What a unit is added to, and of what.
  struct Open {
    at::Tensor room, whole;
  };

  const ModelParts* model_;
  optim::AdamW* optimizer_;
  at::TensorOptions options_;
  distributed::UnitRooms rooms_;
  std::vector<Open> open_;           // by unit
  std::vector<at::Tensor> squares_;  // by unit, once it is updated
  double learning_rate_ = 0;
};

/// Units whose gradients stand at once at most: one, and with a tied head the embedding's beside it.
std::int64_t open_units(const model::LlamaConfig& config);

/// Whether a run updates layer by layer. Throws InputError where several ranks would.
bool updates_by_layer(const config::RunConfig& config, std::int64_t ranks);

/// Throws InputError where the queries of a step do not fit into one pack of so many tokens, naming the largest of such
/// steps.
void require_steps_of_one_pack(const EncodedSet& set, data::StepPlan plan, std::int64_t tokens_per_pack);

}  // namespace rrhf::train
