#include "rrhf/train/model_parts.h"

#include <ATen/ATen.h>

namespace rrhf::train {

ModelParts::ModelParts(const model::LlamaConfig& config, int ranks, int rank)
    : config_(config), units_(config), rank_(rank) {
  const auto shapes = model::tensor_shapes(config);
  for (std::size_t unit = 0; unit < units_.count(); ++unit) {
    std::vector<std::vector<std::int64_t>> own;
    for (const std::size_t number : units_.tensors(unit)) own.push_back(shapes[number]);
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
  std::vector<Slice> all(model::tensor_shapes(config_).size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = {.tensor = i, .begin = 0, .values = nothing};
  for (std::size_t unit = 0; unit < layouts_.size(); ++unit) {
    for (const Slice& slice : slices(unit, parts[unit])) all[slice.tensor] = slice;
  }
  return all;
}

std::vector<Slice> ModelParts::slices(std::size_t unit, const at::Tensor& part) const {
  const std::vector<std::size_t> numbers = units_.tensors(unit);
  std::vector<Slice> own;
  for (const distributed::Piece& piece : layouts_[unit].pieces(rank_)) {
    own.push_back({numbers[piece.tensor], piece.tensor_begin, part.narrow(0, piece.part_begin, piece.size)});
  }
  return own;
}

void ModelParts::place(model::Weights& weights, std::size_t unit, const at::Tensor& whole) const {
  const std::vector<at::Tensor*> places = model::tensor_places(weights, config_);
  const std::vector<std::size_t> numbers = units_.tensors(unit);
  const std::vector<at::Tensor> tensors =
      whole.defined() ? views(unit, whole) : std::vector<at::Tensor>(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) *places[numbers[i]] = tensors[i];
}

GatheredParameters::GatheredParameters(const ModelParts& model, const distributed::World& shards,
                                       const std::vector<at::Tensor>& parts)
    : Parameters(parts.front().options()), model_(&model), units_(shards, parts) {
  model::tensor_places(weights_, model.config());
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
