#include "rrhf/train/model_parts.h"

#include <ATen/ATen.h>

namespace rrhf::train {

ModelParts::ModelParts(const model::TensorSet& set, int ranks, int rank) : set_(set), rank_(rank) {
  for (std::size_t unit = 0; unit < set_.units(); ++unit) {
    std::vector<std::vector<std::int64_t>> own;
    for (const std::size_t number : set_.unit(unit)) own.push_back(set_.shapes()[number]);
    layouts_.emplace_back(std::move(own), ranks);
  }
}

std::vector<at::Tensor> ModelParts::zeros(at::TensorOptions options) const {
  std::vector<at::Tensor> parts;
  for (const auto& layout : layouts_) parts.push_back(at::zeros({layout.part_size()}, options));
  return parts;
}

std::vector<Slice> ModelParts::slices(const std::vector<at::Tensor>& parts) const {
  const at::Tensor nothing = at::empty({0}, parts.front().options());
  std::vector<Slice> all(set_.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = {.tensor = i, .begin = 0, .values = nothing};
  for (std::size_t unit = 0; unit < layouts_.size(); ++unit) {
    for (const Slice& slice : slices(unit, parts[unit])) all[slice.tensor] = slice;
  }
  return all;
}

std::vector<Slice> ModelParts::slices(std::size_t unit, const at::Tensor& part) const {
  const std::vector<std::size_t>& numbers = set_.unit(unit);
  std::vector<Slice> own;
  for (const distributed::Piece& piece : layouts_[unit].pieces(rank_)) {
    own.push_back({numbers[piece.tensor], piece.tensor_begin, part.narrow(0, piece.part_begin, piece.size)});
  }
  return own;
}

void ModelParts::place(model::Weights& weights, std::size_t unit, const at::Tensor& whole) const {
  const std::vector<at::Tensor*> places = set_.places(weights);
  const std::vector<std::size_t>& numbers = set_.unit(unit);
  const std::vector<at::Tensor> tensors =
      whole.defined() ? views(unit, whole) : std::vector<at::Tensor>(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) *places[numbers[i]] = tensors[i];
}

GatheredParameters::GatheredParameters(const ModelParts& model, const distributed::World& shards,
                                       const std::vector<at::Tensor>& parts)
    : Parameters(parts.front().options()), model_(&model), units_(shards, parts) {
  model.set().places(weights_);
}

void GatheredParameters::need(std::size_t unit, std::optional<std::size_t> next) {
  if (placed_ != unit) {
    if (placed_) model_->place(weights_, *placed_, {});  // else its buffer would stay
    placed_.reset();
    model_->place(weights_, unit, units_.need(unit, next));
    placed_ = unit;
  } else {
    units_.need(unit, next);
  }
}

void GatheredParameters::keep(const ModelParts& others, const std::vector<at::Tensor>& parts) {
  for (std::size_t unit = 0; unit < parts.size(); ++unit) others.place(weights_, unit, parts[unit]);
}

void GatheredParameters::drop() {
  if (placed_) model_->place(weights_, *placed_, {});
  placed_.reset();
  units_.drop();
}

void ReducedGradients::need(std::size_t unit) { model_->place(weights_, unit, units_.need(unit)); }

void ReducedGradients::done(std::size_t unit) {
  model_->place(weights_, unit, {});
  units_.done(unit);
}

}  // namespace rrhf::train
