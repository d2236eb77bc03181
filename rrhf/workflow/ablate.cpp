#include "rrhf/workflow/ablate.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>

#include "rrhf/core/aside.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/part_file.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/core/unicode.h"
#include "rrhf/train/inputs.h"
#include "rrhf/train/run_folder.h"
#include "rrhf/workflow/ablated_model.h"
#include "rrhf/workflow/ablation_results.h"
#include "rrhf/workflow/child_commands.h"
#include "rrhf/workflow/sources.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::Grid;
using config::RunConfig;

// What an ablation that was killed as it began had been writing aside does not count.
bool holds_nothing(const fs::path& folder) {
  if (missing_or_empty(folder)) return true;
  return fs::is_directory(folder) && std::ranges::all_of(fs::directory_iterator(folder), [](const auto& entry) {
           return aside_name(entry.path().filename().string()).has_value();
         });
}

void require_own_folder(const Grid& grid, bool resume) {
  const fs::path output = grid.output;
  if (output.empty()) throw_input("ablate", "output is empty: name a folder");
  if (holds_nothing(output)) return;
  if (!path_exists(output / "grid.json")) {
    throw_input("output", "{}: holds something else than an ablation; choose another output", output.string());
  }
  if (!resume) {
    throw_input("output", "{}: is not empty; add --resume to go on with the ablation in it, or choose another output",
                output.string());
  }
}

void require_same_run(const AblatedModel& model) {
  const fs::path folder = model.training.output;
  const bool by_seed = !model.seed && fs::is_directory(folder) && !path_exists(folder / "config.json") &&
                       std::ranges::any_of(fs::directory_iterator(folder), [](const auto& entry) {
                         return entry.path().filename().string().starts_with("seed-");
                       });
  if (by_seed) throw_input("output", "{}: holds runs by seed, and the grid has no \"seeds\" now", folder.string());
  train::RunFolder(model.training, true, false);
}

void require_same_runs(std::span<const AblatedModel> models) {
  InputErrors errors;
  for (const AblatedModel& model : models) {
    try {
      if (!model.is_start()) require_same_run(model);
    } catch (const InputError& error) {
      errors.add(error);
    }
  }
  errors.require_none();
}

// Reads what a training or a measurement will, but weights.
void read_inputs(const RunConfig& config) {
  const train::ModelFolder folder = train::open_model_folder(config);
  if (config.data.train.empty() && !config.data.eval.empty()) {
    train::tokenize_files(config.data.eval, folder, config);
  } else {
    train::require_queries(train::split_run_data(folder, config).train, config, "data.train");
  }
}

// Once for each different model and data.
void require_inputs(std::span<const AblatedModel> models) {
  InputErrors errors;
  std::set<std::string> seen;
  for (const AblatedModel& model : models) {
    const RunConfig& config = model.is_start() ? model.measurement.config() : model.training;
    const Json settings = config::to_json(config);
    if (model.done() || !seen.insert(dump_json({settings["model"], settings["data"]})).second) continue;
    try {
      read_inputs(config);
    } catch (const InputError& error) {
      if (seen.insert(error.what()).second) errors.add(error);  // a start and its runs have one model
    }
  }
  errors.require_none();
}

Json sources_of(std::span<const AblatedModel> models) {
  Sources sources;
  for (const AblatedModel& model : models) {
    const RunConfig& config = model.is_start() ? model.measurement.config() : model.training;
    sources.add_template("data.template " + config.data.template_name, config.data.template_name);
    sources.add_folder("model.path", model.is_start() ? config.model.path : model.run->config.model.path);
    for (const auto* files : {&config.data.train, &config.data.eval}) {
      for (const std::string& file : *files) sources.add_file("data", file);
    }
  }
  return sources.json();
}

// Models of one ablation have seen the same rows and starts. What came to the grid later is added.
void keep_sources(const fs::path& output, std::span<const AblatedModel> models) {
  if (std::ranges::all_of(models, &AblatedModel::done)) return;
  const fs::path file = output / "sources.json";
  const Json now = sources_of(models);
  Json all = path_exists(file) ? parse_json(read_file(file), "ablate", file.string()) : Json::object();
  Json then = Json::object();
  for (const auto& [key, hash] : now.items()) then[key] = all.contains(key) ? all[key] : hash;
  if (const std::string differing = differing_keys(then, now); !differing.empty()) {
    throw_input("ablate", "{}: can't be resumed, what it began from has changed since:{}", output.string(), differing);
  }
  all.update(now);
  write_file_atomically(file, dump_json(all, 2) + "\n");
}

CommandChain chain_for(const AblatedModel& model, const AblateOptions& options) {
  const fs::path folder = model.is_start() ? model.measurement.folder() : fs::path(model.training.output);
  CommandChain chain{.name = model.name, .failure_file = folder / "failure.txt"};
  if (!model.trained()) {
    // A relative path may begin as a flag does.
    const fs::path config = (folder.is_relative() ? "." / folder : folder) / "config.json";
    CommandChain::Stage training{"training", {"train", config.string(), "--resume"}};
    training.command.insert(training.command.end(), options.train_flags.begin(), options.train_flags.end());
    chain.stages.push_back(std::move(training));
  }
  chain.stages.push_back({"measuring", model.measurement.command()});
  if (options.at_once > 1) chain.log = folder / "log.txt";
  chain.prepare = [&model, folder] {
    make_writable_folder(folder);
    // From here on the folder holds a training run, which resumes as any other; what changes no result may have
    // changed.
    if (!model.trained()) {
      write_file_atomically(folder / "config.json", dump_json(config::to_json(model.training), 2) + "\n");
    }
    model.measurement.prepare();
  };
  return chain;
}

std::vector<ChainFailure> run_all(const Grid& grid, std::span<const AblatedModel> models,
                                  const AblateOptions& options) {
  std::vector<const AblatedModel*> todo;
  std::vector<CommandChain> chains;
  for (const AblatedModel& model : models) {
    if (model.done()) continue;
    todo.push_back(&model);
    chains.push_back(chain_for(model, options));
  }
  if (todo.size() < models.size()) log("{} of {} models are done", models.size() - todo.size(), models.size());
  const auto ended_well = [&](std::size_t chain) {
    log("{}: {}", todo[chain]->name, figures_in_words(*todo[chain]));
    write_results(grid, models, ablation_of(grid, models));
  };
  try {
    return run_chains(chains, {.at_once = options.at_once, .ended_well = ended_well});
  } catch (const Interrupted&) {
    throw Interrupted("ablate", "stopped; the same command with --resume goes on from there");
  }
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
  keep_sources(output, models);

  Ablated ablated;
  const std::vector<ChainFailure> failures = run_all(grid, models, options);
  report::Ablation ablation = ablation_of(grid, models);
  for (const ChainFailure& failure : failures) {
    ablated.failed.push_back(failure.name + ": " + failure.text());
    ablated.refused = ablated.refused || failure.refused;
    ablation.notes.push_back("failed: " + ablated.failed.back());
  }
  write_results(grid, models, ablation);
  ablated.table = report::ablation_table(ablation);
  log("report   {}", (output / "report.html").string());
  return ablated;
}

std::string list_runs(const Grid& grid) {
  std::string text;
  for (const AblatedModel& model : models_of(grid)) {
    if (model.is_start()) continue;
    text += printable(model.name);
    for (const auto& [key, value] : model.run->changes.items()) text += fmt::format("  {}={}", key, value.dump());
    text += "\n";
  }
  return text;
}

}  // namespace rrhf::workflow
