#include "rrhf/workflow/ablate.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <span>

#include "rrhf/core/aside.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/core/unicode.h"
#include "rrhf/train/device.h"
#include "rrhf/train/inputs.h"
#include "rrhf/train/run_folder.h"
#include "rrhf/workflow/ablated_model.h"
#include "rrhf/workflow/ablation_results.h"
#include "rrhf/workflow/child_commands.h"
#include "rrhf/workflow/kept_sources.h"

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
  if (holds_nothing(output)) {
    if (resume) log("{}: holds nothing to resume, the ablation begins", output.string());
    return;
  }
  if (!path_exists(output / "grid.json")) {
    throw_input("output", "{}: holds something else than an ablation; choose another output", output.string());
  }
  if (!resume) {
    throw_input("output", "{}: is not empty; add --resume to go on with the ablation in it, or choose another output",
                output.string());
  }
}

bool has_runs_by_seed(const fs::path& folder) {
  return fs::is_directory(folder) && std::ranges::any_of(fs::directory_iterator(folder), [](const auto& entry) {
           return entry.path().filename().string().starts_with("seed-");
         });
}

void require_same_run(const AblatedModel& model) {
  const fs::path folder = model.training.output, family = model.seed ? folder.parent_path() : folder;
  if (model.seed && path_exists(family / "config.json")) {
    throw_input("output", "{}: holds a run without a seed of its own, and the grid has \"seeds\" now", family.string());
  }
  if (!model.seed && has_runs_by_seed(family)) {
    throw_input("output", "{}: holds runs by seed, and the grid has no \"seeds\" now", family.string());
  }
  train::RunFolder(model.training, true, false);
}

void require_same_runs(std::span<const AblatedModel> models) {
  InputErrors errors;
  for (const AblatedModel& model : models) {
    errors.collect([&] {
      if (!model.is_start()) require_same_run(model);
    });
  }
  if (!errors.any()) return;
  errors.add(
      InputError("ablate", "a run that has changed needs another name in the grid, or the ablation another output"));
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

// Once for each different device, model and data.
void require_inputs(std::span<const AblatedModel> models) {
  InputErrors errors;
  std::set<std::string> seen;
  for (const AblatedModel& model : models) {
    const RunConfig& config = model.trained() ? model.measurement.config() : model.training;
    const Json settings = config::to_json(config);
    if (model.done() || !seen.insert(dump_json({settings["device"], settings["model"], settings["data"]})).second)
      continue;
    errors.collect([&] {
      train::choose_device(config.device);
      read_inputs(config);
    });
  }
  errors.require_none();
}

void require_same_sources(std::span<const AblatedModel> models, const KeptSources& kept) {
  Sources known;
  InputErrors errors;
  for (const AblatedModel& model : models) {
    errors.collect([&] {
      if (!model.done()) kept.require_same(model, known);
    });
  }
  errors.require_none();
}

CommandChain chain_for(const AblatedModel& model, KeptSources& sources, const AblateOptions& options) {
  const fs::path folder = model.folder();
  CommandChain chain{.name = model.name, .failure_file = failure_file(model)};
  if (!model.trained()) {
    // A relative path may begin as a flag does.
    const fs::path config = (folder.is_relative() ? "." / folder : folder) / "config.json";
    CommandChain::Stage training{"training", {"train", config.string(), "--resume"}};
    training.command.insert(training.command.end(), options.train_flags.begin(), options.train_flags.end());
    chain.stages.push_back(std::move(training));
  }
  chain.stages.push_back({"measuring", model.measurement.command()});
  if (options.at_once > 1) chain.log = folder / "log.txt";
  chain.prepare = [&model, &sources, folder] {
    make_writable_folder(folder);
    sources.keep(model);
    require_same_files(model);
    if (!model.trained()) {
      // From here on the folder holds a training run, which resumes as any other; what changes no result may change.
      write_file_atomically(folder / "config.json", dump_json(config::to_json(model.training), 2) + "\n");
    }
    model.measurement.prepare();
  };
  return chain;
}

// Table and page as far as there are figures. They are written again and again: a full disk ends nothing.
void show_so_far(const Grid& grid, std::span<const AblatedModel> models) {
  try {
    write_results(grid, models, ablation_of(grid, models));
  } catch (const Error& error) {
    warn("{}", error.what());
  }
}

std::vector<ChainFailure> run_all(const Grid& grid, std::span<const AblatedModel> models, KeptSources& sources,
                                  const AblateOptions& options) {
  std::vector<const AblatedModel*> todo;
  std::vector<CommandChain> chains;
  for (const AblatedModel& model : models) {
    if (model.done()) continue;
    todo.push_back(&model);
    chains.push_back(chain_for(model, sources, options));
  }
  if (todo.size() < models.size()) log("{} of {} models are done", models.size() - todo.size(), models.size());
  constexpr std::chrono::seconds between_pages{5};
  auto shown = std::chrono::steady_clock::now() - between_pages;
  const auto ended = [&](std::size_t chain) {
    if (todo[chain]->done()) log("{}: {}", todo[chain]->name, figures_in_words(*todo[chain]));
    if (std::chrono::steady_clock::now() - shown < between_pages) return;
    show_so_far(grid, models);
    shown = std::chrono::steady_clock::now();
  };
  try {
    return run_chains(chains, {.at_once = options.at_once, .ended = ended});
  } catch (const Interrupted&) {
    show_so_far(grid, models);
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
  KeptSources sources(output / "sources.json");
  require_same_sources(models, sources);
  make_writable_folder(output);
  const FolderLock lock(output);
  remove_abandoned(output);
  write_file_atomically(output / "grid.json", dump_json(grid.resolved, 2) + "\n");

  Ablated ablated;
  const std::vector<ChainFailure> failures = run_all(grid, models, sources, options);
  report::Ablation ablation = ablation_of(grid, models);
  for (const ChainFailure& failure : failures) {
    ablated.failed.push_back(failure.name + ": " + failure.text());
    ablated.refused = ablated.refused || failure.refused;
    // One whose folder takes no file is not there yet.
    const std::string note = "failed: " + ablated.failed.back();
    if (std::ranges::find(ablation.notes, note) == ablation.notes.end()) ablation.notes.push_back(note);
  }
  write_results(grid, models, ablation);
  ablated.table = report::ablation_table(ablation);
  log("report   {}", (output / "report.html").string());
  return ablated;
}

std::string list_runs(const Grid& grid) {
  std::vector<std::string> seeds;
  for (const std::int64_t seed : grid.seeds) seeds.push_back(fmt::format("/seed-{}", seed));
  if (seeds.empty()) seeds.emplace_back();
  std::string text;
  for (const std::string& seed : seeds) {
    for (const config::GridRun& run : grid.runs) {
      text += printable(run.name) + seed;
      for (const auto& [key, value] : run.changes.items()) text += fmt::format("  {}={}", key, value.dump());
      text += "\n";
    }
  }
  return text;
}

}  // namespace rrhf::workflow
