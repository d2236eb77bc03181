#include "rrhf/train/trained_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rrhf/checkpoint/adapter.h"
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
                           const Groups& groups, const GradientForm& gradients, std::optional<AdapterForm> adapters)
    : trained_groups_(adapters ? adapters->groups : &groups),
      model_(config, groups.shards.size(), groups.shards.rank()),
      weight_parts_(model_.zeros(options)),
      adapters_(adapters ? std::optional(ModelParts({config, adapters->layout}, 1, 0)) : std::nullopt),
      adapter_parts_(adapters ? adapters_->zeros(options) : std::vector<at::Tensor>()),
      optimizer_(adapters ? adapter_parts_ : weight_parts_, optimizer),
      parameters_(std::make_shared<GatheredParameters>(model_, groups.shards, weight_parts_)),
      llama_(config, parameters_, {}, adapters ? std::optional(adapters->layout) : std::nullopt) {
  if (adapters_) parameters_->keep(*adapters_, adapter_parts_);
  const at::TensorOptions kept = gradient_options(options, optimizer, gradients.type);
  if (gradients.update == Update::layer) {
    const int ranks = trained_groups().shards.size() * trained_groups().copies.size();
    if (ranks > 1) throw_error("train", "updates by layer are for one rank, not {}", ranks);
    if (optimizer.on_host) throw_error("train", "updates by layer need the optimizer's state where the weights are");
  }
  gradients_ = make_gradients(options, kept, gradients.update);
}

std::unique_ptr<model::Gradients> TrainedModel::make_gradients(at::TensorOptions weights, at::TensorOptions kept,
                                                               Update update) {
  if (update == Update::layer) {
    auto by_layer = std::make_unique<LayerUpdates>(trained(), optimizer_, kept);
    layer_updates_ = by_layer.get();
    return by_layer;
  }
  gradient_parts_ = trained().zeros(kept);
  if (kept.device() == weights.device()) {
    return std::make_unique<ReducedGradients>(trained(), trained_groups().shards, trained_groups().copies,
                                              gradient_parts_);
  }
  auto on_host = std::make_unique<HostGradients>(trained(), gradient_parts_, weights.device());
  host_gradients_ = on_host.get();
  return on_host;
}

void TrainedModel::load(const std::filesystem::path& folder) {
  const checkpoint::WeightReader reader(folder, model_.set().config());
  const std::vector<Slice> slices = model_.slices(adapters_ ? weight_parts_ : optimizer_.masters());
  for (std::size_t i = 0; i < slices.size(); ++i) reader.read(i, slices[i].begin, slices[i].values);
  masters_changed();
}

void TrainedModel::initialize(std::uint64_t seed) {
  const std::vector<Slice> slices = model_.slices(adapters_ ? weight_parts_ : optimizer_.masters());
  model::draw_initial(model_.set().config(), seed, [&](std::size_t i, const at::Tensor& value) {
    const Slice& slice = slices[i];
    slice.values.copy_(value.view({-1}).narrow(0, slice.begin, slice.values.numel()));
  });
  masters_changed();
}

void TrainedModel::initialize_adapters(std::uint64_t seed) {
  const std::vector<Slice> slices = trained().slices(optimizer_.masters());
  model::draw_adapters(trained().set(), seed,
                       [&](std::size_t i, const at::Tensor& value) { slices[i].values.copy_(value.view({-1})); });
  masters_changed();
}

checkpoint::TrainingFacts TrainedModel::resume(const std::filesystem::path& checkpoint) {
  const checkpoint::TrainingStateReader state(checkpoint, trained().set());
  if (adapters_) {
    const checkpoint::AdapterReader reader(checkpoint, trained().set());
    for (const Slice& slice : trained().slices(optimizer_.masters())) reader.read(slice.tensor, slice.values);
    masters_changed();
  } else {
    load(checkpoint);
  }
  for (std::size_t unit = 0; unit < trained().set().units(); ++unit) {
    const at::Tensor first = optimizer_.first_moment(unit), second = optimizer_.second_moment(unit);
    for (const Slice& slice : trained().slices(unit, first)) state.read_first(slice.tensor, slice.begin, slice.values);
    for (const Slice& slice : trained().slices(unit, second))
      state.read_second(slice.tensor, slice.begin, slice.values);
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
  std::vector<at::Tensor> parts = optimizer_.masters();
  if (adapters_) parts.insert(parts.end(), weight_parts_.begin(), weight_parts_.end());
  double largest = 0;
  for (const at::Tensor& part : parts) {
    if (part.numel() == 0) continue;
    const auto [least, most] = at::aminmax(part);  // NaN where an element is NaN
    const double own = std::max(-least.item<double>(), most.item<double>());
    if (!(own <= largest)) largest = own;
    if (std::isnan(own)) break;
  }
  return largest;
}

PartBytes TrainedModel::bytes() const {
  return {.weights = bytes_of(weight_parts_) + bytes_of(adapter_parts_),
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
  trained_groups().shards.all_reduce(sum).wait();
  // Copies hold the same gradients, but where threads or instructions differ they add the squares up in another order.
  // They would be scaled by norms that differ in the last digits, and drift apart.
  trained_groups().copies.broadcast(sum, 0).wait();
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
  const auto room = std::make_shared<distributed::GatheredInTurn>(trained_groups().shards,
                                                                  distributed::largest(optimizer_.masters()));
  const auto part_of = [this](Kind kind, std::size_t unit) {
    if (kind == Kind::master) return optimizer_.masters()[unit];
    return kind == Kind::first ? optimizer_.first_moment(unit) : optimizer_.second_moment(unit);
  };
  const auto units_of = [&](Kind kind) {
    checkpoint::TensorUnits units;
    for (std::size_t unit = 0; unit < trained().set().units(); ++unit) {
      units.units.push_back(trained().set().unit(unit));
    }
    units.whole = [this, room, part_of, kind](std::size_t unit) {
      return trained().views(unit, room->whole(part_of(kind, unit)));
    };
    return units;
  };
  return {.set = trained().set(),
          .masters = units_of(Kind::master),
          .first_moments = units_of(Kind::first),
          .second_moments = units_of(Kind::second),
          .moment_type = optimizer_.moment_type()};
}

}  // namespace rrhf::train
