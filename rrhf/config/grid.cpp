#include "rrhf/config/grid.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <string_view>

#include "rrhf/config/grid_file.h"
#include "rrhf/config/grid_names.h"
#include "rrhf/config/options.h"
#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"

namespace rrhf::config {
namespace {

namespace fs = std::filesystem;

// What "measure" may set: the score and the losses, and the rows they are taken of.
bool is_measure(std::string_view key) {
  constexpr std::array others{"data.eval", "data.responses", "data.max_length"};
  return section_of(key) == "objective" || std::ranges::find(others, key) != others.end();
}

// Why runs of one grid can't differ in a setting; "" where they can.
std::string why_fixed(std::string_view key, const RunConfig& measured) {
  const std::string_view section = section_of(key);
  if (key == "output") return "every run has a folder of its own under the grid's \"output\"";
  if (key == "train.seed") return "the seeds of all runs stand in \"seeds\"";
  if (key == "data.eval")
    return "all models are measured on the same rows; \"measure\" may name others than the config";
  if (section == "sample" || section == "score" || section == "iterate") {
    return fmt::format("{} is of rrhf iterate, and no training takes notice of it", section);
  }
  if ((key == "data.train" || key == "data.eval_fraction") && measured.data.eval.empty()) {
    return "what it holds out would differ among the runs; name rows to measure by in data.eval, or in \"measure\"";
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
        const Json value = value_of(override);
        file_.output = value.is_string() ? value.get<std::string>() : override.value;
      } else {
        given_.push_back(override);
      }
    }
  }

  Grid build() {
    require_parts_apart();
    Resolved base = resolved_with({});
    base_ = std::move(base.config);
    measured_ = resolve_measure();
    require_changes();
    Grid grid{.seeds = file_.seeds,
              .measured = measured_,
              .output = (fs::path(file_.output) / "").parent_path().string(),  // without a slash at its end
              .warnings = std::move(base.warnings)};
    each_combination(file_.vary, [&](const Json& changes) { add(grid, name_for(grid, changes), changes, "vary"); });
    for (const auto& [name, changes] : file_.runs.items()) add(grid, name, changes, "runs." + name);
    errors_.require_none();
    require_different(grid.runs);
    add_warnings(grid);
    grid.resolved = written_out(grid);
    return grid;
  }

 private:
  std::string in(const std::string& part) const { return fmt::format("{}: {}", file_.where, printable(part)); }

  void refuse(const std::string& problem) { errors_.add(InputError("grid", problem)); }

  // What is set for all runs must not be what a key of the grid sets.
  void require_parts_apart() {
    const auto check = [&](const std::string& key, const std::string& where) {
      if (key == "output") refuse(fmt::format("{}: \"output\" is a key of the grid itself", where));
      if (file_.vary.contains(key)) refuse(fmt::format("{}: {} has no effect, since \"vary\" sets it", where, key));
      if (key == "train.seed" && !file_.seeds.empty()) {
        refuse(fmt::format("{}: train.seed has no effect, since \"seeds\" sets it", where));
      }
    };
    for (const auto& [key, value] : file_.set.items()) check(key, in("set"));
    for (const Override& override : given_) {
      check(override.key, override.where);
      const Json values = value_of(override);
      if (!is_section(override.key) || !values.is_object()) continue;
      for (const auto& [name, value] : values.items()) check(override.key + "." + name, override.where);
    }
    errors_.require_none();
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

  RunConfig resolve_measure() {
    for (const auto& [key, value] : file_.measure.items()) {
      if (is_measure(key)) continue;
      refuse(
          fmt::format("{}: {} is not of the measuring: \"measure\" takes objective.*, data.eval, data.responses and "
                      "data.max_length",
                      in("measure"), printable(shorten(key, 80))));
    }
    RunConfig measured;
    const bool fits =
        errors_.collect([&] { measured = resolved_with(overrides_of(file_.measure, in("measure"))).config; });
    if (!fits) return base_;
    if (measured.data.eval.empty() && measured.data.eval_fraction == 0) {
      refuse(
          fmt::format("{}: there is nothing to measure the models by: set data.eval or data.eval_fraction in the "
                      "config, or data.eval in \"measure\"",
                      file_.where));
    }
    return measured;
  }

  // Every key and value by itself, so that a mistake is said once, however many combinations it is in.
  void require_changes() {
    const auto check = [&](const std::string& key, const Json& value, const std::string& part) {
      const std::string why = why_fixed(key, measured_);
      if (!why.empty()) return refuse(fmt::format("{}: {} can't differ: {}", in(part), key, why));
      errors_.collect([&] { resolved_with({{key, dump_json(value), in(part)}}); });
    };
    for (const auto& [key, values] : file_.vary.items()) {
      for (const Json& value : values) check(key, value, "vary");
    }
    for (const auto& [name, changes] : file_.runs.items()) {
      for (const auto& [key, value] : changes.items()) check(key, value, "runs." + name);
    }
    errors_.require_none();
  }

  // Where two combinations would have one name, the later one's ends with a hash of what it sets.
  std::string name_for(const Grid& grid, const Json& changes) const {
    const std::string name = combination_name(changes);
    if (std::ranges::find(grid.runs, name, &GridRun::name) == grid.runs.end()) return name;
    return name_with_hash(name, changes);
  }

  void add(Grid& grid, const std::string& name, const Json& changes, const std::string& part) {
    if (std::ranges::find(grid.runs, name, &GridRun::name) != grid.runs.end()) {
      return refuse(fmt::format("{}: there is another run of the name {}", in(part), printable(name)));
    }
    try {
      Resolved run = resolved_with(overrides_of(changes, in(part)));
      require_fitting_forms(run.config);
      for (const std::string& warning : run.warnings) warned_[warning].push_back(name);
      grid.runs.push_back({name, changes, std::move(run.config)});
    } catch (const InputError& error) {
      const std::string_view text = error.what();
      refuse(fmt::format("{}: {}: {}", file_.where, printable(name), text.substr(text.find("] ") + 2)));
    }
  }

  // What the config itself is warned of is there already.
  void add_warnings(Grid& grid) const {
    const std::vector<std::string> of_base = grid.warnings;
    for (const auto& [warning, names] : warned_) {
      if (std::ranges::find(of_base, warning) != of_base.end()) continue;
      const std::string more = names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "";
      grid.warnings.push_back(fmt::format("{}{}: {}", printable(names[0]), more, warning));
    }
  }

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

  // What a run has otherwise than the config, all of it: a recipe sets more than its own key.
  Json differences(const RunConfig& run) const {
    RunConfig base = base_, other = run;
    const std::vector<Option> of_base = options_of(base), of_run = options_of(other);
    Json changes = Json::object();
    for (std::size_t i = 0; i < of_base.size(); ++i) {
      Json value = of_run[i].value.write();
      if (of_base[i].key != "output" && value != of_base[i].value.write()) changes[of_base[i].key] = std::move(value);
    }
    return changes;
  }

  Json written_out(const Grid& grid) const {
    Json runs = Json::object();
    for (const GridRun& run : grid.runs) runs[run.name] = differences(run.config);
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
  RunConfig base_, measured_;
  InputErrors errors_;
  std::map<std::string, std::vector<std::string>> warned_;  // the runs by warning
};

}  // namespace

Grid read_grid(const fs::path& path, const GridSources& sources) {
  return GridBuilder(read_grid_file(path), sources).build();
}

}  // namespace rrhf::config
