#include "rrhf/train/memory_advice.h"

#include <algorithm>
#include <functional>

#include "rrhf/core/log.h"
#include "rrhf/train/pass.h"

namespace rrhf::train {
namespace {

constexpr std::int64_t least_pack = 512;

struct Change {
  std::string setting;
  std::function<void(config::RunConfig&)> make;
  std::string condition = {};
};

std::vector<Change> changes(const config::RunConfig& config, const Sharing& sharing) {
  const bool cpu = sharing.cpu;
  std::vector<Change> all;
  if (config.train.recompute == Recompute::none) {
    all.push_back({"train.recompute=mlp", [](auto& c) { c.train.recompute = Recompute::mlp; }});
  }
  if (config.train.recompute != Recompute::layer) {
    all.push_back({"train.recompute=layer", [](auto& c) { c.train.recompute = Recompute::layer; }});
  }
  const std::int64_t half = pass_options(config, cpu).tokens_per_pack / 2;
  if (half >= least_pack) {
    all.push_back({fmt::format("train.tokens_per_pack={}", half), [half](auto& c) { c.train.tokens_per_pack = half; },
                   config.optimizer.update == Update::layer ? "with a train.queries_per_step that fits" : ""});
  }
  if (config.model.dtype == Dtype::float32) {
    all.push_back({"model.dtype=bfloat16", [](auto& c) { c.model.dtype = Dtype::bfloat16; }});
  }
  if (config.model.dtype == Dtype::bfloat16 && config.train.gradients == Dtype::float32) {
    all.push_back({"train.gradients=bfloat16", [](auto& c) { c.train.gradients = Dtype::bfloat16; }});
  }
  if (config.model.dtype == Dtype::bfloat16 && config.optimizer.masters == Masters::float32) {
    all.push_back({"optimizer.masters=none", [](auto& c) { c.optimizer.masters = Masters::none; }});
  }
  if (config.model.dtype != Dtype::float64 && config.optimizer.moments != Moments::eight_bit) {
    all.push_back({"optimizer.moments=8bit", [](auto& c) { c.optimizer.moments = Moments::eight_bit; }});
  }
  if (!cpu && config.train.recompute == Recompute::layer && config.train.layer_inputs == Place::device) {
    all.push_back({"train.layer_inputs=host", [](auto& c) { c.train.layer_inputs = Place::host; }});
  }
  if (!cpu && sharing.devices == 1 && config.optimizer.place == Place::device &&
      config.optimizer.update == Update::step && !config.lora.rank) {
    all.push_back({"optimizer.place=host", [](auto& c) { c.optimizer.place = Place::host; }});
  }
  if (sharing.devices == 1 && config.optimizer.update == Update::step && config.optimizer.max_grad_norm == 0 &&
      config.optimizer.place == Place::device && !config.lora.rank) {
    all.push_back(
        {"optimizer.update=layer", [](auto& c) { c.optimizer.update = Update::layer; }, "where each step is one pack"});
  }
  if (!config.lora.rank && !config.model.random_init && config.optimizer.place == Place::device &&
      config.optimizer.update == Update::step) {
    all.push_back(
        {"lora.rank=16", [](auto& c) { c.lora.rank = 16; }, "and trains adapters, not the weights (docs/lora.md)"});
  }
  if (config.parallel.mode == ParallelMode::replicated) {
    all.push_back({"parallel.mode=sharded", [](auto& c) { c.parallel.mode = ParallelMode::sharded; }});
  }
  return all;
}

}  // namespace

std::vector<Saving> possible_savings(const model::LlamaConfig& model, const config::RunConfig& config,
                                     const Sharing& sharing) {
  const auto bytes_of = [&](const config::RunConfig& changed) {
    Sharing own = sharing;
    own.mode = changed.parallel.mode;
    return plan_memory(model, changed, full_packs(changed, sharing.cpu), own).total();
  };
  const std::int64_t now = bytes_of(config);
  std::vector<Saving> savings;
  for (const Change& change : changes(config, sharing)) {
    config::RunConfig changed = config;
    change.make(changed);
    if (const std::int64_t saved = now - bytes_of(changed); saved > 0)
      savings.push_back({change.setting, saved, change.condition});
  }
  std::ranges::stable_sort(savings, std::ranges::greater(), &Saving::bytes);
  return savings;
}

std::string memory_advice(const model::LlamaConfig& model, const config::RunConfig& config, const Sharing& sharing) {
  std::string text;
  for (const Saving& saving : possible_savings(model, config, sharing)) {
    text += fmt::format("\n  --set {:<34} would save {:>7}B{}{}", saving.setting,
                        short_number(static_cast<double>(saving.bytes)), saving.condition.empty() ? "" : " ",
                        saving.condition);
  }
  return text.empty() ? "\n  every setting that saves memory is taken; a smaller model or more devices remain" : text;
}

}  // namespace rrhf::train
