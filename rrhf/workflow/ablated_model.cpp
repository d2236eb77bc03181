#include "rrhf/workflow/ablated_model.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <span>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"
#include "rrhf/workflow/sources.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::Grid;
using config::GridRun;
using config::RunConfig;

// Hashes of the files a model is measured on; null for one that is gone.
Json files_of(const RunConfig& measure, Sources& known) {
  Json files = Json::object();
  const auto add = [&](const std::string& key, const auto& hash) {
    try {
      hash();
      files[key] = known.json().at(key);
    } catch (const InputError&) {
      files[key] = nullptr;
    }
  };
  for (const std::string& file : measure.data.eval.empty() ? measure.data.train : measure.data.eval) {
    add("data " + file, [&] { known.add_file("data", file); });
  }
  const std::string& name = measure.data.template_name;
  add("data.template " + name, [&] { known.add_template("data.template " + name, name); });
  return files;
}

AblatedModel model_of_run(const Grid& grid, const GridRun& run, std::optional<std::int64_t> seed, Sources& known) {
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
          .measurement = Measurement(folder / "measured", measure, files_of(measure, known))};
}

std::string settings_text(RunConfig config, bool with_seed) {
  if (!with_seed) config.train.seed = 0;
  return dump_json(config::to_json(config));
}

// "start" where all runs begin from one model but for the seed, else with the runs that begin from each.
void name_families(std::vector<AblatedModel>& starts, std::span<const AblatedModel> runs) {
  std::map<std::string, std::string> family_of;  // of a run's model, by its name
  for (const AblatedModel& run : runs) family_of[run.name] = run.family;
  std::map<std::string, std::vector<std::string>> begin;  // families, by the start's settings without the seed
  const auto settings = [](const AblatedModel& start) { return settings_text(start.measurement.config(), false); };
  for (const AblatedModel& start : starts) {
    std::vector<std::string>& families = begin[settings(start)];
    for (const std::string& name : start.begin_here) {
      if (std::ranges::find(families, family_of[name]) == families.end()) families.push_back(family_of[name]);
    }
  }
  for (AblatedModel& start : starts) {
    const std::vector<std::string>& families = begin.at(settings(start));
    const std::string more = families.size() > 1 ? fmt::format(" and {} more", families.size() - 1) : "";
    start.family = begin.size() == 1 ? "start" : fmt::format("start of {}{}", families[0], more);
  }
}

std::vector<AblatedModel> starts_of(const Grid& grid, std::span<const AblatedModel> runs, Sources& known) {
  std::map<std::string, std::size_t> numbers;  // by all settings
  std::vector<AblatedModel> starts;
  for (const AblatedModel& run : runs) {
    const RunConfig measure = measure_of_run(grid.measured, run.training);
    const auto [number, is_new] = numbers.emplace(settings_text(measure, true), starts.size());
    if (is_new) {
      const std::string name = fmt::format("start/{}", starts.size() + 1);
      starts.push_back(
          {.name = name, .measurement = Measurement(fs::path(grid.output) / name, measure, files_of(measure, known))});
    }
    starts[number->second].begin_here.push_back(run.name);
  }
  name_families(starts, runs);
  return starts;
}

}  // namespace

void require_same_files(const AblatedModel& model) {
  Sources known;
  if (files_of(model.measurement.config(), known) == model.measurement.files()) return;
  throw_input("ablate",
              "rows or a template that models are measured on have changed while it ran; --resume measures all "
              "of them anew");
}

fs::path AblatedModel::folder() const { return is_start() ? measurement.folder() : fs::path(training.output); }

bool AblatedModel::trained() const {
  const fs::path folder = training.output;
  return is_start() || (path_exists(folder / "model" / "config.json") && path_exists(folder / "report.html"));
}

fs::path failure_file(const AblatedModel& model) { return model.folder() / "failure.txt"; }

std::string failure_of(const AblatedModel& model) {
  const fs::path file = failure_file(model);
  return model.done() || !path_exists(file) ? "" : std::string(strip(read_file(file)));
}

std::vector<AblatedModel> models_of(const Grid& grid) {
  std::vector<std::optional<std::int64_t>> seeds(grid.seeds.begin(), grid.seeds.end());
  if (seeds.empty()) seeds.emplace_back();
  Sources known;
  std::vector<AblatedModel> runs;
  for (const auto& seed : seeds) {
    for (const GridRun& run : grid.runs) runs.push_back(model_of_run(grid, run, seed, known));
  }
  std::vector<AblatedModel> models = starts_of(grid, runs, known);
  std::ranges::move(runs, std::back_inserter(models));
  return models;
}

}  // namespace rrhf::workflow
