#include "rrhf/workflow/ablate.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <span>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/core/unicode.h"
#include "rrhf/report/ablation.h"
#include "rrhf/train/inputs.h"
#include "rrhf/train/run_folder.h"
#include "rrhf/workflow/child_commands.h"
#include "rrhf/workflow/measurement.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::Grid;
using config::GridRun;
using config::RunConfig;

// A model to be measured: one that runs begin from, or what the training of one run and seed leaves.
struct AblatedModel {
  std::string name;    // of its folder: "start/1", "rank_weight=10/seed-2"
  std::string family;  // what is averaged over seeds: "start", "rank_weight=10"
  std::optional<std::int64_t> seed;
  const GridRun* run = nullptr;  // null for a start
  RunConfig training;            // of a run
  Measurement measurement;

  bool trained() const {
    const fs::path folder = training.output;
    return run == nullptr || (path_exists(folder / "model" / "config.json") && path_exists(folder / "report.html"));
  }
  bool done() const { return trained() && measurement.figures().has_value(); }
};

AblatedModel model_of_run(const Grid& grid, const GridRun& run, std::optional<std::int64_t> seed) {
  RunConfig training = run.config;
  std::string name = run.name;
  if (seed) {
    training.train.seed = *seed;
    name += fmt::format("/seed-{}", *seed);
  }
  const fs::path folder = fs::path(grid.output) / name;
  training.output = folder.string();
  RunConfig measure = measure_of_run(grid.measured, training);
  measure.model.path = (folder / "model").string();
  measure.model.random_init = false;
  return {.name = std::move(name),
          .family = run.name,
          .seed = seed,
          .run = &run,
          .training = std::move(training),
          .measurement = Measurement(folder / "measured", measure)};
}

std::string without_seed(const RunConfig& config) {
  RunConfig copy = config;
  copy.train.seed = 0;
  return dump_json(config::to_json(copy));
}

// The different starts of the runs, each measured as the runs that begin there are.
std::vector<AblatedModel> starts_of(const Grid& grid, std::span<const AblatedModel> runs) {
  std::set<std::string> seen;
  std::map<std::string, std::string> family_of;  // by the settings without the seed: the first run that begins there
  std::vector<AblatedModel> starts;
  for (const AblatedModel& run : runs) {
    const RunConfig measure = measure_of_run(grid.measured, run.training);
    family_of.emplace(without_seed(measure), run.family);
    if (!seen.insert(dump_json(config::to_json(measure))).second) continue;
    const std::string name = fmt::format("start/{}", seen.size());
    starts.push_back({.name = name,
                      .family = without_seed(measure),
                      .training = run.training,
                      .measurement = Measurement(fs::path(grid.output) / name, measure)});
  }
  for (AblatedModel& start : starts) {
    start.family = family_of.size() == 1 ? "start" : "start of " + family_of.at(start.family);
  }
  return starts;
}

// Starts, then a run with each set of settings, then the same with the next seed: what is there early says most.
std::vector<AblatedModel> models_of(const Grid& grid) {
  std::vector<std::optional<std::int64_t>> seeds(grid.seeds.begin(), grid.seeds.end());
  if (seeds.empty()) seeds.emplace_back();
  std::vector<AblatedModel> runs;
  for (const auto& seed : seeds) {
    for (const GridRun& run : grid.runs) runs.push_back(model_of_run(grid, run, seed));
  }
  std::vector<AblatedModel> models = starts_of(grid, runs);
  std::ranges::move(runs, std::back_inserter(models));
  return models;
}

void require_own_folder(const Grid& grid, bool resume) {
  const fs::path output = grid.output;
  if (output.empty()) throw_input("ablate", "output is empty: name a folder");
  if (missing_or_empty(output)) return;
  if (!path_exists(output / "grid.json")) {
    throw_input("output", "{}: holds something else than an ablation; choose another output", output.string());
  }
  if (!resume) {
    throw_input("output", "{}: is not empty; add --resume to go on with the ablation in it, or choose another output",
                output.string());
  }
}

// Reads what the trainings and measurements will, but weights, once for each different model and data.
void require_inputs(std::span<const AblatedModel> models) {
  InputErrors errors;
  std::set<std::string> seen;
  for (const AblatedModel& model : models) {
    const RunConfig& config = model.run == nullptr ? model.measurement.config() : model.training;
    const Json settings = config::to_json(config);
    if (model.done() || !seen.insert(dump_json({settings["model"], settings["data"]})).second) continue;
    try {
      const train::ModelFolder folder = train::open_model_folder(config);
      if (config.data.train.empty() && model.run == nullptr) {
        train::tokenize_files(config.data.eval, folder, config);
      } else {
        train::require_queries(train::split_run_data(folder, config).train, config, "data.train");
      }
    } catch (const InputError& error) {
      if (seen.insert(error.what()).second) errors.add(error);  // a start and its runs have one model
    }
  }
  errors.require_none();
}

void require_same_runs(std::span<const AblatedModel> models) {
  InputErrors errors;
  for (const AblatedModel& model : models) {
    try {
      if (model.run != nullptr) train::RunFolder(model.training, true, false);
    } catch (const InputError& error) {
      errors.add(error);
    }
  }
  errors.require_none();
}

CommandChain chain_for(const AblatedModel& model, const AblateOptions& options) {
  const fs::path folder = model.training.output;
  CommandChain chain{.name = model.name};
  if (!model.trained()) {
    CommandChain::Stage training{"training", {"train", (folder / "config.json").string(), "--resume"}};
    training.command.insert(training.command.end(), options.train_flags.begin(), options.train_flags.end());
    chain.stages.push_back(std::move(training));
  }
  chain.stages.push_back({"measuring", model.measurement.command()});
  const fs::path own = model.run == nullptr ? model.measurement.folder() : folder;
  if (options.at_once > 1) chain.log = own / "log.txt";
  chain.prepare = [&model, own] {
    make_writable_folder(own);
    // From here on the folder holds a training run, which resumes as any other.
    if (model.run != nullptr && !path_exists(own / "config.json")) {
      write_file_atomically(own / "config.json", dump_json(config::to_json(model.training), 2) + "\n");
    }
    model.measurement.prepare();
  };
  return chain;
}

Json line_of(const AblatedModel& model) {
  Json line{{"model", model.name}};
  if (model.seed) line["seed"] = *model.seed;
  if (model.run != nullptr) line["changes"] = model.run->changes;
  line["figures"] = model.measurement.figures().value_or(nullptr);
  return line;
}

std::string measured_by(const Grid& grid, std::span<const AblatedModel> models) {
  const config::ObjectiveConfig& objective = grid.measured.objective;
  std::string text = fmt::format("scores by objective.normalization {}", name_of(objective.normalization));
  if (objective.length_penalty != 1) text += fmt::format(", length_penalty {}", objective.length_penalty);
  for (const AblatedModel& model : models) {
    const std::optional<Json> figures = model.measurement.figures();
    if (!figures || !figures->contains("queries")) continue;
    return fmt::format("{} queries {}; {}", figures->at("queries").dump(),
                       grid.measured.data.eval.empty() ? "held out of data.train by each run's seed" : "of data.eval",
                       text);
  }
  return text;
}

report::Ablation ablation_of(const Grid& grid, std::span<const AblatedModel> models) {
  report::Ablation ablation{.name = fs::path(grid.output).lexically_normal().filename().string()};
  for (const AblatedModel& model : models) {
    auto family = std::ranges::find(ablation.models, model.family, &report::MeasuredModels::name);
    if (family == ablation.models.end()) family = ablation.models.insert(family, {.name = model.family});
    if (model.run != nullptr && path_exists(fs::path(model.training.output) / "metrics.jsonl")) {
      family->runs.push_back(report::load_run(model.training.output));
    }
    const std::optional<Json> figures = model.measurement.figures();
    if (!figures) continue;
    auto& values = family->figures.emplace_back();
    for (const auto& [name, value] : figures->items()) {
      if (value.is_number()) values[name] = value.get<double>();
    }
  }
  if (grid.seeds.size() > 1) {
    ablation.notes.push_back(fmt::format("mean ± standard deviation over {} seeds", grid.seeds.size()));
  }
  ablation.notes.push_back(measured_by(grid, models));
  return ablation;
}

void write_results(const Grid& grid, std::span<const AblatedModel> models, const report::Ablation& ablation) {
  const fs::path output = grid.output;
  write_file_atomically(output / "results.jsonl", [&](std::ostream& out) {
    for (const AblatedModel& model : models) out << dump_json(line_of(model)) << '\n';
  });
  write_file_atomically(output / "report.html", report::ablation_page(ablation));
}

void log_figures(const AblatedModel& model) {
  const std::optional<Json> figures = model.measurement.figures();
  if (!figures) return;
  const auto text = [&](const char* name, double scale, int decimals) {
    const auto found = figures->find(name);
    if (found == figures->end() || !found->is_number()) return std::string("-");
    return fmt::format("{:.{}f}", found->get<double>() * scale, decimals);
  };
  log("{}: ranking accuracy {} %  margin {}  perplexity {}", model.name, text("rank_accuracy", 100, 1),
      text("margin", 1, 4), text("perplexity", 1, 3));
}

std::vector<std::string> run_all(const Grid& grid, std::span<const AblatedModel> models, const AblateOptions& options) {
  std::vector<const AblatedModel*> todo;
  std::vector<CommandChain> chains;
  for (const AblatedModel& model : models) {
    if (model.done()) continue;
    todo.push_back(&model);
    chains.push_back(chain_for(model, options));
  }
  if (const std::size_t done = models.size() - todo.size(); done > 0)
    log("{} of {} models are done", done, models.size());
  const auto ended_well = [&](std::size_t chain) {
    log_figures(*todo[chain]);
    write_results(grid, models, ablation_of(grid, models));
  };
  const auto failures = run_chains(chains, {.at_once = options.at_once, .ended_well = ended_well});
  std::vector<std::string> failed;
  for (const ChainFailure& failure : failures) {
    const std::string text = fmt::format("{}: {}", todo[failure.chain]->name, failure.text);
    if (failure.refused) throw_input("ablate", "{}\nthe other runs are left; what is finished is kept", text);
    failed.push_back(text);
  }
  return failed;
}

}  // namespace

Ablated ablate(const Grid& grid, const AblateOptions& options) {
  require_own_folder(grid, options.resume);
  const std::vector<AblatedModel> models = models_of(grid);
  require_same_runs(models);
  require_inputs(models);
  const fs::path output = grid.output;
  make_writable_folder(output);
  const FolderLock lock(output);
  remove_abandoned(output);
  write_file_atomically(output / "grid.json", dump_json(grid.resolved, 2) + "\n");

  Ablated ablated;
  try {
    ablated.failed = run_all(grid, models, options);
  } catch (const Interrupted&) {
    throw Interrupted("ablate", "stopped; the same command with --resume goes on from there");
  }
  report::Ablation ablation = ablation_of(grid, models);
  for (const std::string& failure : ablated.failed) ablation.notes.push_back("failed: " + failure);
  write_results(grid, models, ablation);
  ablated.table = report::ablation_table(ablation);
  log("report   {}", (output / "report.html").string());
  return ablated;
}

std::string list_runs(const Grid& grid) {
  std::string text;
  for (const AblatedModel& model : models_of(grid)) {
    if (model.run == nullptr) continue;
    text += printable(model.name);
    for (const auto& [key, value] : model.run->changes.items()) text += fmt::format("  {}={}", key, value.dump());
    text += "\n";
  }
  return text;
}

}  // namespace rrhf::workflow
