#include "rrhf/workflow/train.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/report/format.h"
#include "rrhf/report/report.h"
#include "rrhf/train/device.h"
#include "rrhf/train/evaluate.h"
#include "rrhf/train/memory_advice.h"
#include "rrhf/train/trainer.h"

namespace rrhf::workflow {
namespace {

// The rows to evaluate: data.eval, or what data.eval_fraction holds out of data.train.
train::EncodedSet evaluation_set(const train::ModelFolder& folder, const config::RunConfig& config) {
  if (config.data.eval.empty()) return train::split_train_data(folder, config).held_out;
  if (config.data.eval_fraction > 0 && !config.data.train.empty()) {
    log("rows of data.eval alone: those that data.eval_fraction holds out of data.train are left out");
  }
  train::EncodedSet set;
  set.add(train::tokenize_files(config.data.eval, folder, config));
  return set;
}

// What training did to the rows held out, in a line.
void log_before_and_after(const report::RunRecord& run) {
  if (run.evaluations.size() < 2 || run.evaluations.front().step != 0) return;
  const auto change = [&](const char* name, double scale, int decimals) {
    const auto text = [&](const report::Row& row) {
      const std::optional<double> value = row.value(name);
      return report::fixed(value ? std::optional(*value * scale) : value, decimals);
    };
    return fmt::format("{} -> {}", text(run.evaluations.front()), text(run.evaluations.back()));
  };
  log("held out ranking accuracy {} %  perplexity of the best {}", change("rank_accuracy", 100, 1),
      change("perplexity", 1, 2));
}

std::string train_and_report(const config::RunConfig& config, const train::RunOptions& options,
                             const distributed::World& world) {
  train::Trainer trainer(config, options, world);
  trainer.run();
  if (world.rank() == 0) write_report(config.output);
  return trainer.profile();
}

train::Evaluation evaluate_on(at::Device device, const config::RunConfig& config,
                              const std::filesystem::path& per_response) {
  if (config.data.eval.empty() && (config.data.eval_fraction == 0 || config.data.train.empty())) {
    throw_input("config", "nothing to evaluate: set data.eval (--data FILE), or data.train with data.eval_fraction");
  }
  const train::ModelFolder folder = train::open_model_folder(config);
  train::warn_of_other_encoding(folder, config);
  const train::EncodedSet set = evaluation_set(folder, config);
  train::require_queries(set, config, "the data", train::SkippedShown::some);
  const model::Llama llama = train::load_llama(config, folder, device);
  const objective::Objective objective(train::objective_options(config));
  const distributed::World world;
  const train::Pass pass(llama, objective, world, train::pass_options(config, device.is_cpu()));

  const StopSignals signals;
  train::PerResponseTable table(set);
  bool finite = true;
  const auto evaluation = train::evaluate(pass, set, [&](const auto& query, const auto& loss, auto logprobs_K) {
    finite = finite && std::ranges::all_of(logprobs_K, [](double logprob) { return std::isfinite(logprob); });
    if (!per_response.empty()) table.add(query, loss, logprobs_K);
  });
  if (!evaluation) throw Interrupted("eval", "stopped before the evaluation was complete; nothing is written");
  if (finite && !std::isfinite(evaluation->all.loss)) {
    throw_input("eval",
                "the loss is not a finite number: objective.length_penalty {} takes lengths beyond what a number holds",
                config.objective.length_penalty);
  }
  if (!finite) {
    throw_error("eval", "{}: the log-probs of its responses are not finite numbers: its weights are broken",
                folder.path.string());
  }
  if (!per_response.empty()) table.write(per_response);
  return *evaluation;
}

}  // namespace

void write_report(const std::filesystem::path& run_folder) {
  const std::array runs{report::load_run(run_folder)};
  const std::filesystem::path page = run_folder / "report.html";
  write_file_atomically(page, report::html_report(runs));
  log_before_and_after(runs[0]);
  log("report   {}", page.string());
}

std::string train_model(const config::RunConfig& config, const train::RunOptions& options,
                        const distributed::World& world) {
  return train::with_memory_advice(
      [&] { return train_and_report(config, options, world); },
      [&] {
        const train::Sharing sharing{.devices = world.size(),
                                     .mode = config.parallel.mode,
                                     .cpu = train::choose_device(config.device, world.place().local_rank).is_cpu(),
                                     .host = train::host_memory()};
        return train::memory_advice(checkpoint::load_config(config.model.path), config, sharing);
      });
}

train::Evaluation evaluate_model(const config::RunConfig& config, const std::filesystem::path& per_response) {
  const at::Device device = train::choose_device(config.device);
  return train::with_memory_advice(
      [&] { return evaluate_on(device, config, per_response); },
      [&] { return train::inference_advice(checkpoint::load_config(config.model.path), config, device.is_cpu()); });
}

}  // namespace rrhf::workflow
