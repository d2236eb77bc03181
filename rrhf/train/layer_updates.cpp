#include "rrhf/train/layer_updates.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/data/packing.h"
#include "rrhf/optim/clip.h"

namespace rrhf::train {

LayerUpdates::LayerUpdates(const ModelParts& model, optim::AdamW& optimizer, at::TensorOptions options)
    : model_(&model), optimizer_(&optimizer), options_(options) {
  for (const at::Tensor& master : optimizer.masters()) sizes_.push_back(master.numel());
  open_.resize(sizes_.size());
  squares_.resize(sizes_.size());
  model::tensor_places(weights_, model.config());
}

void LayerUpdates::begin_step(double learning_rate) {
  learning_rate_ = learning_rate;
  squares_.assign(sizes_.size(), {});
  optimizer_->begin_step();
}

at::Tensor LayerUpdates::whole_of(std::size_t unit, const at::Tensor& room) const {
  return room.narrow(0, 0, sizes_[unit]);
}

void LayerUpdates::need(std::size_t unit) {
  if (open_[unit].defined()) return;  // with a tied head the embedding's stays open from one end to the other
  at::Tensor& room = open_[unit];
  if (free_.empty()) {
    room = at::empty({std::ranges::max(sizes_)}, options_);
  } else {
    room = std::move(free_.back());
    free_.pop_back();
  }
  model_->place(weights_, unit, whole_of(unit, room).zero_());
}

void LayerUpdates::done(std::size_t unit) {
  if (squares_[unit].defined()) throw_error("train", "unit {} of the model is updated twice in a step", unit);
  model_->place(weights_, unit, {});
  at::Tensor room = std::exchange(open_[unit], {});
  at::Tensor whole = whole_of(unit, room);
  squares_[unit] = optim::squares_of(whole);
  optimizer_->update(unit, whole, learning_rate_);
  free_.push_back(std::move(room));
}

double LayerUpdates::sum_of_squares() const { return at::stack(squares_).sum().item<double>(); }

std::int64_t LayerUpdates::bytes() const {
  const std::int64_t rooms = model_->config().tie_word_embeddings ? 2 : 1;
  return rooms * std::ranges::max(sizes_) * static_cast<std::int64_t>(options_.dtype().itemsize());
}

bool updates_by_layer(const config::RunConfig& config, std::int64_t ranks) {
  if (config.optimizer.update == Update::step) return false;
  if (ranks > 1) throw_input("config", "optimizer.update layer is for one process, not {}", ranks);
  return true;
}

void require_steps_of_one_pack(const EncodedSet& set, data::StepPlan plan, std::int64_t tokens_per_pack) {
  for (std::int64_t k = 0; k < plan.steps(); ++k) {
    std::vector<std::int64_t> tokens;
    for (const std::int64_t i : plan.queries(k)) tokens.push_back(set.size_of(i).packed());
    const std::size_t packs = data::pack_by_tokens(tokens, tokens_per_pack).size();
    if (packs == 1) continue;
    std::int64_t sum = 0;
    for (const std::int64_t each : tokens) sum += each;
    throw_input("train",
                "step {} of {} queries takes {} packs of {} tokens (train.tokens_per_pack), and with optimizer.update "
                "layer a step must be one pack: this one has {} tokens; larger packs take little memory with "
                "train.recompute layer",
                k + 1, tokens.size(), packs, with_commas(tokens_per_pack), with_commas(sum));
  }
}

}  // namespace rrhf::train
