#include "rrhf/workflow/ablation_results.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <ostream>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/report/format.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::Grid;

Json line_of(const AblatedModel& model) {
  Json line{{"model", model.name}};
  if (model.is_start()) line["runs"] = model.begin_here;
  if (model.seed) line["seed"] = *model.seed;
  if (!model.is_start()) line["changes"] = model.run->changes;
  line["figures"] = model.measurement.figures().value_or(nullptr);
  return line;
}

// "200 queries of data.eval", and which models have other numbers of them: a longer template may leave a row no place.
std::string measured_rows(const Grid& grid, std::span<const AblatedModel> models) {
  std::optional<std::int64_t> first;
  std::vector<std::string> others;
  for (const AblatedModel& model : models) {
    const std::optional<Json> figures = model.measurement.figures();
    if (!figures) continue;
    const auto queries = figures->at("queries").get<std::int64_t>();
    if (!first) first = queries;
    std::string other = fmt::format("{} of {}", queries, model.family);
    if (queries != *first && std::ranges::find(others, other) == others.end()) others.push_back(std::move(other));
  }
  if (!first) return "nothing is measured yet";
  return fmt::format("{} queries {}{}{}", *first,
                     grid.measured.data.eval.empty() ? "held out of data.train by each run's seed" : "of data.eval",
                     others.empty() ? "" : "; but ", fmt::join(others, ", "));
}

std::string measured_score(const Grid& grid) {
  const config::ObjectiveConfig& objective = grid.measured.objective;
  std::string text = fmt::format("scores by objective.normalization {}", name_of(objective.normalization));
  if (objective.length_penalty != 1) text += fmt::format(", length_penalty {}", objective.length_penalty);
  return text;
}

void take_training(const AblatedModel& model, report::MeasuredModels& family, std::vector<std::string>& notes) {
  const fs::path folder = model.training.output;
  if (model.is_start() || !path_exists(folder / "metrics.jsonl")) return;
  try {
    family.runs.push_back(report::load_run(folder));
  } catch (const InputError& error) {
    notes.emplace_back(error.what());
  }
}

std::string name_of_folder(const fs::path& folder) { return fs::weakly_canonical(folder).filename().string(); }

}  // namespace

report::Ablation ablation_of(const Grid& grid, std::span<const AblatedModel> models) {
  report::Ablation ablation{.name = name_of_folder(grid.output)};
  std::vector<std::string> unread, failed;
  for (const AblatedModel& model : models) {
    const auto same = [&](const report::MeasuredModels& family) {
      return family.name == model.family && family.start == model.is_start();
    };
    auto family = std::ranges::find_if(ablation.models, same);
    if (family == ablation.models.end()) {
      family = ablation.models.insert(family, {.name = model.family, .start = model.is_start()});
    }
    ++family->expected;
    take_training(model, *family, unread);
    if (const std::string why = failure_of(model); !why.empty())
      failed.push_back(fmt::format("{}: {}", model.name, why));
    const std::optional<Json> figures = model.measurement.figures();
    if (!figures) continue;
    auto& values = family->figures.emplace_back();
    for (const auto& [name, value] : figures->items()) {
      if (value.is_number()) values[name] = value.get<double>();
    }
  }
  const bool spread =
      std::ranges::any_of(ablation.models, [](const auto& family) { return family.figures.size() > 1; });
  if (spread) ablation.notes.push_back(fmt::format("mean ± standard deviation over {} seeds", grid.seeds.size()));
  ablation.notes.push_back(fmt::format("{}; {}", measured_rows(grid, models), measured_score(grid)));
  ablation.notes.insert(ablation.notes.end(), unread.begin(), unread.end());
  for (const std::string& failure : failed) ablation.notes.push_back("failed: " + failure);
  return ablation;
}

void write_results(const Grid& grid, std::span<const AblatedModel> models, const report::Ablation& ablation) {
  const fs::path output = grid.output;
  write_file_atomically(output / "results.jsonl", [&](std::ostream& out) {
    for (const AblatedModel& model : models) out << dump_json(line_of(model)) << '\n';
  });
  write_file_atomically(output / "report.html", report::ablation_page(ablation));
}

std::string figures_in_words(const AblatedModel& model) {
  const Json figures = model.measurement.figures().value_or(Json::object());
  const auto text = [&](const char* name, double scale, int decimals) {
    const auto found = figures.find(name);
    const bool known = found != figures.end() && found->is_number();
    return report::fixed(known ? std::optional(found->get<double>() * scale) : std::nullopt, decimals);
  };
  return fmt::format("ranking accuracy {} %  margin {}  perplexity {}", text("rank_accuracy", 100, 1),
                     text("margin", 1, 4), text("perplexity", 1, 3));
}

}  // namespace rrhf::workflow
