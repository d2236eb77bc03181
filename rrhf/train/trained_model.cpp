#include "rrhf/train/trained_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rrhf/core/error.h"
#include "rrhf/distributed/gathered_in_turn.h"
#include "rrhf/optim/clip.h"

namespace rrhf::train {
namespace {

std::int64_t bytes_of(const std::vector<at::Tensor>& tensors) {
  std::int64_t sum = 0;
  for (const at::Tensor& tensor : tensors) sum += static_cast<std::int64_t>(tensor.nbytes());
  return sum;
}

// Where and in what the gradients of weights are kept.
at::TensorOptions gradient_options(const at::TensorOptions& weights, const optim::AdamWOptions& optimizer,
                                   std::optional<at::ScalarType> type) {
  const auto own = weights.dtype(type.value_or(model::accumulation_type(weights.dtype().toScalarType())));
  if (!optimizer.on_host || weights.device().is_cpu()) return own;
  return own.device(at::kCPU).pinned_memory(weights.device().is_cuda());
}

}  // namespace

TrainedModel::TrainedModel(const model::LlamaConfig& config, at::TensorOptions options, optim::AdamWOptions optimizer,
                           const Groups& groups, const GradientForm& gradients)
    : groups_(&groups),
      model_(config, groups.shards.size(), groups.shards.rank()),
      weight_parts_(model_.zeros(options)),
      optimizer_(weight_parts_, optimizer),
      parameters_(std::make_shared<GatheredParameters>(model_, groups.shards, weight_parts_)),
      llama_(config, parameters_) {
  const at::TensorOptions kept = gradient_options(options, optimizer, gradients.type);
  if (gradients.update == Update::layer) {
    const int ranks = groups.shards.size() * groups.copies.size();
    if (ranks > 1) throw_error("train", "updates by layer are for one rank, not {}", ranks);
    if (optimizer.on_host) throw_error("train", "updates by layer need the optimizer's state where the weights are");
    auto by_layer = std::make_unique<LayerUpdates>(model_, optimizer_, kept);
    layer_updates_ = by_layer.get();
    gradients_ = std::move(by_layer);
    return;
  }
  gradient_parts_ = model_.zeros(kept);
  if (gradient_parts_.front().device() == weight_parts_.front().device()) {
    gradients_ = std::make_unique<ReducedGradients>(model_, groups.shards, groups.copies, gradient_parts_);
    return;
  }
  auto on_host = std::make_unique<HostGradients>(model_, gradient_parts_, options.device());
  host_gradients_ = on_host.get();
  gradients_ = std::move(on_host);
}

void TrainedModel::load(const std::filesystem::path& folder) {
  const checkpoint::WeightReader reader(folder, model_.config());
  const std::vector<Slice> slices = model_.slices(optimizer_.masters());
  for (std::size_t i = 0; i < slices.size(); ++i) reader.read(i, slices[i].begin, slices[i].values);
  masters_changed();
}

void TrainedModel::initialize(std::uint64_t seed) {
  const std::vector<Slice> slices = model_.slices(optimizer_.masters());
  model::draw_initial(model_.config(), seed, [&](std::size_t i, const at::Tensor& value) {
    const Slice& slice = slices[i];
    slice.values.copy_(value.view({-1}).narrow(0, slice.begin, slice.values.numel()));
  });
  masters_changed();
}

checkpoint::TrainingFacts TrainedModel::resume(const std::filesystem::path& checkpoint) {
  const checkpoint::TrainingStateReader state(checkpoint, model_.config());
  load(checkpoint);
  for (std::size_t unit = 0; unit < model_.units().count(); ++unit) {
    const at::Tensor first = optimizer_.first_moment(unit), second = optimizer_.second_moment(unit);
    for (const Slice& slice : model_.slices(unit, first)) state.read_first(slice.tensor, slice.begin, slice.values);
    for (const Slice& slice : model_.slices(unit, second)) state.read_second(slice.tensor, slice.begin, slice.values);
    optimizer_.set_moments(unit, first, second);
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
  return {.weights = bytes_of(weight_parts_),
          .gradients = layer_updates_ != nullptr ? layer_updates_->bytes() : bytes_of(gradient_parts_),
          .optimizer = optimizer_.bytes(),
          .on_host = host_gradients_ != nullptr};
}

void TrainedModel::begin_step(double learning_rate) {
  learning_rate_ = learning_rate;
  if (layer_updates_ != nullptr) return layer_updates_->begin_step(learning_rate);
  if (host_gradients_ != nullptr) return host_gradients_->begin_step();
  for (at::Tensor& part : gradient_parts_) part.zero_();
}

double TrainedModel::gradient_norm() const {
  const double own =
      layer_updates_ != nullptr ? layer_updates_->sum_of_squares() : optim::sum_of_squares(gradient_parts_);
  at::Tensor sum = at::full({1}, own, at::kDouble).to(llama_.device());
  groups_->shards.all_reduce(sum).wait();
  // Copies hold the same gradients, but where threads or instructions differ they add the squares up in another order.
  // They would be scaled by norms that differ in the last digits, and drift apart.
  groups_->copies.broadcast(sum, 0).wait();
  return std::sqrt(sum.item<double>());
}

void TrainedModel::update(double norm, double max_norm) {
  if (layer_updates_ != nullptr) {
    if (max_norm > 0) throw_error("train", "updates by layer can't be clipped by a norm of {}", max_norm);
    return;
  }
  parameters_->drop();
  optimizer_.step(gradient_parts_, learning_rate_, optim::clip_factor(norm, max_norm));
}

checkpoint::TrainingTensors TrainedModel::tensors() const {
  // All three kinds, one after the other, through the same room: one unit of one kind is whole.
  enum class Kind { master, first, second };
  const auto room = std::make_shared<distributed::GatheredInTurn>(groups_->shards, distributed::largest(weight_parts_));
  const auto part_of = [this](Kind kind, std::size_t unit) {
    if (kind == Kind::master) return optimizer_.masters()[unit];
    return kind == Kind::first ? optimizer_.first_moment(unit) : optimizer_.second_moment(unit);
  };
  const auto units_of = [&](Kind kind) {
    checkpoint::TensorUnits units;
    for (std::size_t unit = 0; unit < model_.units().count(); ++unit) {
      units.units.push_back(model_.units().tensors(unit));
    }
    units.whole = [this, room, part_of, kind](std::size_t unit) {
      return model_.views(unit, room->whole(part_of(kind, unit)));
    };
    return units;
  };
  return {.masters = units_of(Kind::master),
          .first_moments = units_of(Kind::first),
          .second_moments = units_of(Kind::second),
          .moment_type = optimizer_.moment_type()};
}

}  // namespace rrhf::train
