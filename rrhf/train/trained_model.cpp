#include "rrhf/train/trained_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rrhf/optim/clip.h"

namespace rrhf::train {
namespace {

std::int64_t bytes_of(const std::vector<at::Tensor>& tensors) {
  std::int64_t sum = 0;
  for (const at::Tensor& tensor : tensors) sum += static_cast<std::int64_t>(tensor.nbytes());
  return sum;
}

at::ScalarType dtype_of(const at::TensorOptions& options) { return options.dtype().toScalarType(); }

}  // namespace

TrainedModel::TrainedModel(const model::LlamaConfig& config, at::TensorOptions options, optim::AdamWOptions optimizer,
                           const Groups& groups)
    : groups_(&groups),
      model_(config, groups.shards.size(), groups.shards.rank()),
      weight_parts_(model_.zeros(options)),
      gradient_parts_(model_.zeros(options.dtype(model::accumulation_type(dtype_of(options))))),
      optimizer_(weight_parts_, optimizer),
      parameters_(std::make_shared<GatheredParameters>(model_, groups.shards, weight_parts_)),
      gradients_(model_, groups.shards, groups.copies, gradient_parts_),
      llama_(config, parameters_) {}

void TrainedModel::load(const std::filesystem::path& folder) {
  const checkpoint::WeightReader reader(folder, model_.config());
  const std::vector<Slice> slices = model_.slices(optimizer_.masters());
  for (std::size_t i = 0; i < slices.size(); ++i) reader.read(i, slices[i].begin, slices[i].values);
  masters_changed();
}

void TrainedModel::initialize(std::uint64_t seed) {
  const std::vector<Slice> slices = model_.slices(optimizer_.masters());
  model::draw_initial(model_.config(), seed, [&](std::size_t i, const at::Tensor& value) {
    const auto& [begin, values] = slices[i];
    values.copy_(value.view({-1}).narrow(0, begin, values.numel()));
  });
  masters_changed();
}

checkpoint::TrainingFacts TrainedModel::resume(const std::filesystem::path& checkpoint) {
  const checkpoint::TrainingStateReader state(checkpoint, model_.config());
  load(checkpoint);
  const std::vector<Slice> first = model_.slices(optimizer_.first_moments());
  const std::vector<Slice> second = model_.slices(optimizer_.second_moments());
  for (std::size_t i = 0; i < first.size(); ++i) {
    state.read_first(i, first[i].begin, first[i].values);
    state.read_second(i, second[i].begin, second[i].values);
  }
  optimizer_.set_steps(state.facts().step);
  return state.facts();
}

void TrainedModel::masters_changed() {
  optimizer_.round_masters();
  parameters_->drop();
}

double TrainedModel::largest_weight() const {
  double largest = 0;
  for (const at::Tensor& part : optimizer_.masters()) {
    if (part.numel() == 0) continue;
    const auto [least, most] = at::aminmax(part);  // NaN where an element is NaN
    const double own = std::max(-least.item<double>(), most.item<double>());
    if (!(own <= largest)) largest = own;
    if (std::isnan(own)) break;
  }
  return largest;
}

PartBytes TrainedModel::bytes() const {
  const bool masters = !optimizer_.masters().front().is_same(weight_parts_.front());
  return {.weights = bytes_of(weight_parts_),
          .gradients = bytes_of(gradient_parts_),
          .optimizer = bytes_of(optimizer_.first_moments()) + bytes_of(optimizer_.second_moments()) +
                       (masters ? bytes_of(optimizer_.masters()) : 0)};
}

void TrainedModel::zero_gradients() {
  for (at::Tensor& part : gradient_parts_) part.zero_();
}

double TrainedModel::gradient_norm() const {
  at::Tensor sum = at::full({1}, optim::sum_of_squares(gradient_parts_), at::kDouble).to(llama_.device());
  groups_->shards.all_reduce(sum).wait();
  // Copies hold the same gradients, but where threads or instructions differ they add the squares up in another order.
  // They would be scaled by norms that differ in the last digits, and drift apart.
  groups_->copies.broadcast(sum, 0).wait();
  return std::sqrt(sum.item<double>());
}

void TrainedModel::update(double norm, double max_norm, double learning_rate) {
  optim::clip_by_norm(gradient_parts_, norm, max_norm);
  parameters_->drop();
  optimizer_.step(gradient_parts_, learning_rate);
}

checkpoint::TrainingTensors TrainedModel::tensors() const {
  // All three kinds, one after the other, so that they pass through the same room: one unit of one kind is whole.
  std::vector<at::Tensor> parts;
  for (const auto* kind : {&optimizer_.masters(), &optimizer_.first_moments(), &optimizer_.second_moments()}) {
    parts.insert(parts.end(), kind->begin(), kind->end());
  }
  const std::size_t count = model_.units().count();
  const auto gathered = std::make_shared<distributed::GatheredUnits>(groups_->shards, std::move(parts));
  const auto units_of = [&](std::size_t kind) {
    checkpoint::TensorUnits units;
    for (std::size_t unit = 0; unit < count; ++unit) units.units.push_back(model_.units().tensors(unit));
    units.whole = [this, gathered, first = kind * count](std::size_t unit) {
      return model_.views(unit, gathered->need(first + unit, std::nullopt));
    };
    return units;
  };
  return {.masters = units_of(0),
          .first_moments = units_of(1),
          .second_moments = units_of(2),
          .moment_type = optimizer_.first_moments().front().scalar_type()};
}

}  // namespace rrhf::train
