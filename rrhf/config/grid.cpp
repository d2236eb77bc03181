#include "rrhf/config/grid.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string_view>

#include "rrhf/config/grid_file.h"
#include "rrhf/config/options.h"
#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"

namespace rrhf::config {
namespace {

namespace fs = std::filesystem;

// The most characters a value takes in a name.
constexpr std::size_t longest_value = 40, longest_combination = 120;

bool plain_in_names(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '+' ||
         c == '-' || c == '_';
}

// "1e-05", "rankings+more" for two files.
std::string value_in_name(const Json& value) {
  std::string text;
  if (value.is_array()) {
    for (const Json& each : value) text += (text.empty() ? "" : "+") + value_in_name(each);
  } else if (value.is_number_float()) {
    text = fmt::format("{}", value.get<double>());
  } else {
    text = value.is_string() ? value.get<std::string>() : dump_json(value);
    if (text.find('/') != std::string::npos) text = fs::path(text).stem().string();
  }
  std::ranges::replace_if(
      text, [](char c) { return !plain_in_names(c); }, '_');
  return text.substr(0, longest_value);
}

// What "measure" may set: the score and the losses, and the rows they are taken of.
bool is_measure(std::string_view key) {
  constexpr std::array others{"data.eval", "data.responses", "data.max_length"};
  return section_of(key) == "objective" || std::ranges::find(others, key) != others.end();
}

// Why runs of one grid can't differ in a setting; "" where they can.
std::string why_fixed(std::string_view key, const RunConfig& base) {
  const std::string_view section = section_of(key);
  if (key == "output") return "every run has a folder of its own under the grid's \"output\"";
  if (key == "train.seed") return "the seeds of all runs stand in \"seeds\"";
  if (key == "data.eval")
    return "all models are measured on the same rows; \"measure\" may name others than the config";
  if (section == "sample" || section == "score" || section == "iterate") {
    return fmt::format("{} is of rrhf iterate, and no training takes notice of it", section);
  }
  if ((key == "data.train" || key == "data.eval_fraction") && base.data.eval.empty()) {
    return "what it holds out would differ among the runs; name rows to measure by in data.eval";
  }
  return "";
}

// Calls visit with every combination of one value for each key, the last key's values changing fastest.
void each_combination(const Json& vary, const std::function<void(const Json& changes)>& visit) {
  std::vector<std::string> keys;
  for (const auto& [key, values] : vary.items()) keys.push_back(key);
  Json changes = Json::object();
  const std::function<void(std::size_t)> choose = [&](std::size_t at) {
    if (at == keys.size()) return visit(changes);
    for (const Json& value : vary.at(keys[at])) {
      changes[keys[at]] = value;
      choose(at + 1);
    }
  };
  if (!keys.empty()) choose(0);
}

class GridBuilder {
 public:
  GridBuilder(GridFile file, const GridSources& sources) : file_(std::move(file)), sources_(sources) {
    for (const Override& override : sources.overrides) {
      if (override.key == "output") {
        file_.output = override.value;
      } else {
        given_.push_back(override);
      }
    }
    require_no_output(file_.set, "set");
  }

  Grid build() {
    Resolved base = resolved_with({});
    base_ = std::move(base.config);
    require_changes();
    Grid grid{.seeds = file_.seeds, .output = file_.output, .warnings = std::move(base.warnings)};
    grid.measured = resolved_with(overrides_of(file_.measure, in("measure"))).config;
    if (grid.measured.data.eval.empty() && grid.measured.data.eval_fraction == 0) {
      throw_input(
          "grid",
          "{}: there is nothing to measure the models by: set data.eval or data.eval_fraction in the config, or "
          "data.eval in \"measure\"",
          file_.where);
    }
    each_combination(file_.vary, [&](const Json& changes) { add(grid, combination_name(changes), changes, "vary"); });
    for (const auto& [name, changes] : file_.runs.items()) add(grid, name, changes, "runs." + name);
    errors_.require_none();
    require_different(grid.runs);
    grid.resolved = written_out(grid);
    return grid;
  }

 private:
  std::string in(const std::string& part) const { return fmt::format("{}: {}", file_.where, printable(part)); }

  void require_no_output(const Json& values, const std::string& part) const {
    if (values.contains("output")) throw_input("grid", "{}.output: \"output\" is a key of the grid itself", in(part));
  }

  // The config with what is set for all runs, and more.
  Resolved resolved_with(const std::vector<Override>& more) const {
    std::vector<Override> overrides = overrides_of(file_.settings, in("config"));
    for (const auto& each : {overrides_of(file_.set, in("set")), given_, more}) {
      overrides.insert(overrides.end(), each.begin(), each.end());
    }
    const auto& known = sources_.known_rank_losses;
    if (!file_.preset.empty()) return resolve_file(sources_.preset_path(file_.preset), overrides, known);
    return file_.config.empty() ? resolve("", file_.where, overrides, known)
                                : resolve_file(file_.config, overrides, known);
  }

  // Every key and value by itself, so that a mistake is said once, however many combinations it is in.
  void require_changes() {
    InputErrors errors;
    const auto check = [&](const std::string& key, const Json& value, const std::string& part) {
      try {
        const std::string why = why_fixed(key, base_);
        if (!why.empty()) throw_input("grid", "{}: {} can't differ: {}", in(part), key, why);
        resolved_with({{key, dump_json(value), in(part)}});
      } catch (const InputError& error) {
        errors.add(error);
      }
    };
    for (const auto& [key, values] : file_.vary.items()) {
      for (const Json& value : values) check(key, value, "vary");
    }
    for (const auto& [name, changes] : file_.runs.items()) {
      for (const auto& [key, value] : changes.items()) check(key, value, "runs." + name);
    }
    for (const auto& [key, value] : file_.measure.items()) {
      if (is_measure(key)) continue;
      errors.add(InputError("grid", fmt::format("{}: {} is not of the measuring: \"measure\" takes objective.*, "
                                                "data.eval, data.responses and data.max_length",
                                                in("measure"), printable(shorten(key, 80)))));
    }
    errors.require_none();
  }

  void add(Grid& grid, std::string name, const Json& changes, const std::string& part) {
    if (std::ranges::find(grid.runs, name, &GridRun::name) != grid.runs.end()) {
      if (part != "vary") return refuse(in(part) + ": a combination of \"vary\" has this name");
      name += fmt::format("-{}", grid.runs.size() + 1);
    }
    try {
      Resolved run = resolved_with(overrides_of(changes, in(part)));
      require_fitting_forms(run.config);
      for (const std::string& warning : run.warnings) {
        if (std::ranges::find(grid.warnings, warning) == grid.warnings.end()) {
          grid.warnings.push_back(fmt::format("{}: {}", name, warning));
        }
      }
      grid.runs.push_back({std::move(name), changes, std::move(run.config)});
    } catch (const InputError& error) {
      const std::string_view text = error.what();
      refuse(fmt::format("{}: {}: {}", file_.where, printable(name), text.substr(text.find("] ") + 2)));
    }
  }

  void refuse(const std::string& problem) { errors_.add(InputError("grid", problem)); }

  void require_different(const std::vector<GridRun>& runs) const {
    std::vector<std::string> alike;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (runs[i].config != runs[j].config) continue;
        alike.push_back(fmt::format("{}: {} and {} are the same settings", file_.where, printable(runs[j].name),
                                    printable(runs[i].name)));
        break;
      }
    }
    if (!alike.empty()) throw InputError("grid", fmt::format("{}", fmt::join(alike, "\n")));
  }

  Json written_out(const Grid& grid) const {
    Json runs = Json::object();
    for (const GridRun& run : grid.runs) runs[run.name] = run.changes;
    Json config = to_json(base_);
    config.erase("output");
    Json json{{"config", std::move(config)}, {"runs", std::move(runs)}};
    if (!grid.seeds.empty()) json["seeds"] = grid.seeds;
    if (!file_.measure.empty()) json["measure"] = file_.measure;
    json["output"] = grid.output;
    return json;
  }

  GridFile file_;
  const GridSources& sources_;
  std::vector<Override> given_;  // --set, but for the output
  RunConfig base_;
  InputErrors errors_;
};

}  // namespace

Grid read_grid(const fs::path& path, const GridSources& sources) {
  return GridBuilder(read_grid_file(path), sources).build();
}

std::string combination_name(const Json& changes) {
  const auto ends_alike = [&](const std::string& key) {
    std::size_t count = 0;
    for (const auto& [other, value] : changes.items()) count += last_part(other) == last_part(key);
    return count > 1;
  };
  std::string name;
  for (const auto& [key, value] : changes.items()) {
    const std::string shown = ends_alike(key) ? key : std::string(last_part(key));
    name += fmt::format("{}{}={}", name.empty() ? "" : ",", shown, value_in_name(value));
  }
  return name.substr(0, longest_combination);
}

}  // namespace rrhf::config
