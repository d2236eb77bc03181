#include "rrhf/train/layer_updates.h"

#include <ATen/ATen.h>

#include <numeric>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/data/packing.h"
#include "rrhf/optim/clip.h"

namespace rrhf::train {

LayerUpdates::LayerUpdates(const ModelParts& model, optim::AdamW& optimizer, at::TensorOptions options)
    : model_(&model),
      optimizer_(&optimizer),
      options_(options),
      rooms_(distributed::largest(optimizer.masters()), options),
      open_(optimizer.masters().size()),
      squares_(optimizer.masters().size()) {
  model.set().places(weights_);
}

void LayerUpdates::begin_step(double learning_rate) {
  learning_rate_ = learning_rate;
  squares_.assign(squares_.size(), {});
  optimizer_->begin_step();
}

void LayerUpdates::need(std::size_t unit) {
  Open& open = open_[unit];
  if (open.room.defined()) return;  // the embedding's, since the tied head was added to it
  open.room = rooms_.take();
  open.whole = open.room.narrow(0, 0, optimizer_->masters()[unit].numel()).zero_();
  model_->place(weights_, unit, open.whole);
}

void LayerUpdates::done(std::size_t unit) {
  if (squares_[unit].defined()) {
    throw_error("train", "unit {} of the model is updated twice in a step, which must be one pass", unit);
  }
  model_->place(weights_, unit, {});
  Open open = std::exchange(open_[unit], {});
  squares_[unit] = optim::squares_of(open.whole);
  optimizer_->update(unit, open.whole, learning_rate_);
  rooms_.give_back(std::move(open.room));
}

double LayerUpdates::sum_of_squares() const {
  for (const at::Tensor& unit : squares_) {
    if (!unit.defined()) throw_error("train", "the norm of a step's gradients is known after its pass; there was none");
  }
  return at::stack(squares_).sum().item<double>();
}

std::int64_t LayerUpdates::bytes() const {
  return open_units(model_->set().config()) * distributed::largest(optimizer_->masters()) *
         static_cast<std::int64_t>(options_.dtype().itemsize());
}

std::int64_t open_units(const model::LlamaConfig& config) { return config.tie_word_embeddings ? 2 : 1; }

bool updates_by_layer(const config::RunConfig& config, std::int64_t ranks) {
  if (config.optimizer.update == Update::step) return false;
  if (ranks > 1) {
    throw_input("config",
                "optimizer.update layer is for one process, not {}; with optimizer.update step, parallel.mode sharded "
                "shares the gradients among them",
                ranks);
  }
  return true;
}

void require_steps_of_one_pack(const EncodedSet& set, data::StepPlan plan, std::int64_t tokens_per_pack) {
  std::int64_t most = 0, most_at = 0, most_queries = 0;
  for (std::int64_t k = 0; k < plan.steps(); ++k) {
    std::vector<std::int64_t> tokens;
    for (const std::int64_t i : plan.queries(k)) tokens.push_back(set.size_of(i).packed());
    const std::int64_t sum = std::accumulate(tokens.begin(), tokens.end(), std::int64_t{0});
    if (sum <= most || data::pack_by_tokens(tokens, tokens_per_pack).size() == 1) continue;
    most = sum;
    most_at = k + 1;
    most_queries = std::ssize(tokens);
  }
  if (most == 0) return;
  throw_input("config",
              "optimizer.update layer needs steps of one pack: step {}, the largest of those that take more, has {} "
              "tokens in {}, and train.tokens_per_pack is {}; raise that to {} or lower train.queries_per_step",
              most_at, with_commas(most), counted(most_queries, "query", "queries"), with_commas(tokens_per_pack),
              with_commas(most));
}

}  // namespace rrhf::train
