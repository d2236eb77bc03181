// How the tensors of a model are cut among ranks: those of every unit of model::Units lie in one flat buffer
// (distributed/unit_layout.h), of which a rank holds one part.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "rrhf/distributed/gathered_units.h"
#include "rrhf/distributed/reduced_units.h"
#include "rrhf/distributed/unit_layout.h"
#include "rrhf/model/tensor_set.h"
#include "rrhf/model/units.h"

namespace rrhf::train {

/// The run of a tensor's elements, in row-major order, that a rank holds; empty where it holds none.
struct Slice {
  std::size_t tensor = 0;  ///< number in the set
  std::int64_t begin = 0;
  at::Tensor values;  ///< a flat view into the rank's part of the unit
};

class ModelParts {
 public:
  /// Rank `rank` of `ranks`.
  ModelParts(const model::TensorSet& set, int ranks, int rank);

  const model::TensorSet& set() const noexcept { return set_; }

  /// This rank's part of each unit, zeros.
  std::vector<at::Tensor> zeros(at::TensorOptions options) const;

  /// What `parts` hold of each tensor of the set.
  std::vector<Slice> slices(const std::vector<at::Tensor>& parts) const;
  /// The same of one unit, in its order, without those it holds nothing of.
  std::vector<Slice> slices(std::size_t unit, const at::Tensor& part) const;

  /// The tensors of a unit as views into its whole buffer.
  std::vector<at::Tensor> views(std::size_t unit, const at::Tensor& whole) const { return layouts_[unit].views(whole); }

  /// Makes the unit's tensors in `weights` views into its whole buffer, or, without one, undefined.
  void place(model::Weights& weights, std::size_t unit, const at::Tensor& whole) const;

 private:
  model::TensorSet set_;
  std::vector<distributed::UnitLayout> layouts_;
  int rank_;
};

/// Weights of which every rank of a group holds a part, made whole unit by unit. Keeps references.
class GatheredParameters : public model::Parameters {
 public:
  GatheredParameters(const ModelParts& model, const distributed::World& shards, const std::vector<at::Tensor>& parts);
  void need(std::size_t unit, std::optional<std::size_t> next) override;

  /// Has tensors of another set at hand for good, of which `parts` holds all: adapters.
  void keep(const ModelParts& others, const std::vector<at::Tensor>& parts);

  /// Before the parts change.
  void drop();

 private:
  const ModelParts* model_;
  distributed::GatheredUnits units_;
  std::optional<std::size_t> placed_;
};

/// Gradients that end up summed in the ranks' parts. Keeps references.
class ReducedGradients : public model::Gradients {
 public:
  ReducedGradients(const ModelParts& model, const distributed::World& shards, const distributed::World& copies,
                   const std::vector<at::Tensor>& parts)
      : model_(&model), units_(shards, copies, parts) {}
  void need(std::size_t unit) override;
  void done(std::size_t unit) override;
  void begin_last_pass() override { units_.begin_last_pass(); }
  void finish() override { units_.finish(); }

 private:
  const ModelParts* model_;
  distributed::ReducedUnits units_;
};

}  // namespace rrhf::train
