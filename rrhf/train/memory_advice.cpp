#include "rrhf/train/memory_advice.h"

#include <algorithm>
#include <functional>
#include <string_view>

#include "rrhf/core/log.h"
#include "rrhf/model/memory.h"
#include "rrhf/model/ops.h"
#include "rrhf/train/pass.h"

namespace rrhf::train {
namespace {

constexpr std::int64_t least_pack = 512;

std::string or_what_remains(std::string lines, std::string_view remaining) {
  return lines.empty() ? fmt::format("\n  every setting that saves memory is taken; {} remain", remaining) : lines;
}

struct Change {
  std::string setting;  // as --set takes it
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
  if (sharing.devices == 1 && config.optimizer.update == Update::step && config.optimizer.place == Place::device &&
      !config.lora.rank) {
    const bool clips = config.optimizer.max_grad_norm > 0;
    all.push_back({clips ? "optimizer.update=layer --set optimizer.max_grad_norm=0" : "optimizer.update=layer",
                   [](auto& c) {
                     c.optimizer.update = Update::layer;
                     c.optimizer.max_grad_norm = 0;
                   },
                   clips ? "without clipping, where each step is one pack" : "where each step is one pack"});
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
  const auto plan_of = [&](const config::RunConfig& changed) {
    Sharing own = sharing;
    own.mode = changed.parallel.mode;
    return plan_memory(model, changed, full_packs(changed, sharing.cpu), own);
  };
  const MemoryPlan now = plan_of(config);
  std::vector<Saving> savings;
  for (const Change& change : changes(config, sharing)) {
    config::RunConfig changed = config;
    change.make(changed);
    const MemoryPlan then = plan_of(changed);
    const std::int64_t saved = now.total() - then.total(), moved = then.host - now.host;
    if (saved * 100 < now.total() || (moved > 0 && then.host > sharing.host)) continue;
    std::string condition = change.condition;
    if (moved > 0) {
      condition += fmt::format("{}and takes {} of the host's memory", condition.empty() ? "" : " ", bytes_text(moved));
    }
    savings.push_back({"--set " + change.setting, saved, std::move(condition)});
  }
  std::ranges::stable_sort(savings, std::ranges::greater(), &Saving::bytes);
  return savings;
}

std::string saving_lines(std::span<const Saving> savings) {
  std::size_t width = 0;
  for (const Saving& saving : savings) width = std::max(width, saving.setting.size());
  std::string text;
  for (const Saving& saving : savings) {
    text += fmt::format("\n  {:<{}}  would save {:>7}{}{}", saving.setting, width, bytes_text(saving.bytes),
                        saving.condition.empty() ? "" : " ", saving.condition);
  }
  return text;
}

std::string memory_advice(const model::LlamaConfig& model, const config::RunConfig& config, const Sharing& sharing) {
  return or_what_remains(saving_lines(possible_savings(model, config, sharing)), "a smaller model or more devices");
}

std::optional<std::string> why_too_large(const MemoryPlan& plan, int local_ranks, const Sharing& sharing) {
  const std::int64_t bytes = sharing.cpu ? plan.total() + (local_ranks - 1) * plan.lasting() : plan.host;
  if (bytes <= sharing.host) return std::nullopt;
  const std::string ranks = local_ranks > 1 ? fmt::format(" by {} ranks", local_ranks) : "";
  return fmt::format("{} of this machine's memory would be taken{}, and it has {} (rrhf model plan says for what{})",
                     bytes_text(bytes), ranks, bytes_text(sharing.host),
                     sharing.cpu ? "" : "; optimizer.place and train.layer_inputs keep it there");
}

std::string inference_advice(const model::LlamaConfig& model, const config::RunConfig& config, bool cpu) {
  const auto bytes_of = [&](Dtype dtype, std::int64_t tokens) {
    const c10::ScalarType type = model::scalar_type(dtype);
    return model.parameter_count() * static_cast<std::int64_t>(c10::elementSize(type)) +
           model::evaluation_memory(model, type, {tokens, tokens}, model::head_budget(cpu)).total();
  };
  const Dtype dtype = config.model.dtype;
  const std::int64_t tokens = pass_options(config, cpu).tokens_per_pack, now = bytes_of(dtype, tokens);
  std::vector<Saving> savings;
  if (dtype != Dtype::bfloat16) {
    savings.push_back({"--set model.dtype=bfloat16", now - bytes_of(Dtype::bfloat16, tokens), {}});
  }
  if (tokens / 2 >= least_pack) {
    savings.push_back(
        {fmt::format("--set train.tokens_per_pack={}", tokens / 2), now - bytes_of(dtype, tokens / 2), {}});
  }
  std::ranges::stable_sort(savings, std::ranges::greater(), &Saving::bytes);
  return or_what_remains(saving_lines(savings), "a smaller model or a larger device");
}

bool is_out_of_memory(const c10::Error& failure) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&failure) != nullptr) return true;
  // The allocators of the CPU and of page-locked memory have no type of their own for it.
  const std::string_view text = failure.what_without_backtrace();
  return text.find("can't allocate memory") != text.npos || text.find("out of memory") != text.npos;
}

}  // namespace rrhf::train
