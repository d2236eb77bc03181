#include "rrhf/workflow/ablated_model.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <span>

#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::Grid;
using config::GridRun;
using config::RunConfig;

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
          .begin_here = {},
          .measurement = Measurement(folder / "measured", measure)};
}

std::string settings_text(RunConfig config, bool with_seed) {
  if (!with_seed) config.train.seed = 0;
  return dump_json(config::to_json(config));
}

// "start" where all runs begin from one model but for the seed, else with the runs that begin from each.
void name_families(std::vector<AblatedModel>& starts, std::span<const AblatedModel> runs) {
  std::map<std::string, std::string> runs_of;  // by the settings without the seed
  const auto settings = [](const AblatedModel& start) { return settings_text(start.measurement.config(), false); };
  for (const AblatedModel& start : starts) {
    std::string& list = runs_of[settings(start)];
    for (const AblatedModel& run : runs) {
      const bool begins = std::ranges::find(start.begin_here, run.name) != start.begin_here.end();
      const bool first = std::ranges::find(runs, run.family, &AblatedModel::family)->name == run.name;
      if (begins && first) list += (list.empty() ? "" : ", ") + run.family;
    }
  }
  constexpr std::size_t longest_list = 40;
  for (AblatedModel& start : starts) {
    start.family = runs_of.size() == 1 ? "start" : "start of " + shorten(runs_of.at(settings(start)), longest_list);
  }
}

std::vector<AblatedModel> starts_of(const Grid& grid, std::span<const AblatedModel> runs) {
  std::map<std::string, std::size_t> numbers;  // by all settings
  std::vector<AblatedModel> starts;
  for (const AblatedModel& run : runs) {
    const RunConfig measure = measure_of_run(grid.measured, run.training);
    const auto [number, is_new] = numbers.emplace(settings_text(measure, true), starts.size());
    if (is_new) {
      const std::string name = fmt::format("start/{}", starts.size() + 1);
      starts.push_back({.name = name, .measurement = Measurement(fs::path(grid.output) / name, measure)});
    }
    starts[number->second].begin_here.push_back(run.name);
  }
  name_families(starts, runs);
  return starts;
}

}  // namespace

bool AblatedModel::trained() const {
  const fs::path folder = training.output;
  return is_start() || (path_exists(folder / "model" / "config.json") && path_exists(folder / "report.html"));
}

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

}  // namespace rrhf::workflow
