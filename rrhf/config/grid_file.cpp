#include "rrhf/config/grid_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "rrhf/config/grid_names.h"
#include "rrhf/config/key_scan.h"
#include "rrhf/config/options.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/nearest.h"
#include "rrhf/core/unicode.h"

namespace rrhf::config {
namespace {

constexpr std::array<std::string_view, 8> grid_keys{"config", "preset", "set",     "vary",
                                                    "runs",   "seeds",  "measure", "output"};
// What an ablation has in its folder beside its runs.
constexpr std::array<std::string_view, 5> taken_names{"start", "grid.json", "sources.json", "results.jsonl",
                                                      "report.html"};

bool is_run_name(std::string_view name) {
  return !name.empty() && name.size() <= longest_run_name && name[0] != '.' && name.find('/') == name.npos &&
         std::ranges::find(taken_names, name) == taken_names.end() && printable(name) == name;
}

// Where in a value there is what no setting takes: "" where all is well.
std::string unusable(const Json& value, const std::string& at) {
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    return fmt::format("{} is {}, which is no finite number", at, describe(value));
  }
  if (value.is_string() && value.get_ref<const std::string&>().find('\0') != std::string::npos) {
    return at + " has the character U+0000 in it";
  }
  std::string found;
  if (!value.is_structured()) return found;
  for (const auto& [key, part] : value.items()) {
    const std::string inside = value.is_array() ? at : at + (at.empty() ? "" : ".") + printable(shorten(key, 80));
    if (found.empty()) found = unusable(part, inside);
  }
  return found;
}

class GridFileReader {
 public:
  explicit GridFileReader(GridFile& file) : file_(file) {}

  void read(const Json& root) {
    for (const auto& [key, value] : root.items()) {
      const std::string problem = unusable(value, printable(shorten(key, 80)));
      problem.empty() ? take(key, value) : refuse(problem);
    }
    const bool config = root.contains("config"), preset = root.contains("preset");
    if (!config && !preset) {
      refuse("names no config: \"config\" is a config file's path or an object of settings, \"preset\" a name");
    }
    if (config && preset) refuse("\"config\" and \"preset\" exclude each other");
    if (file_.vary.empty() && file_.runs.empty() && mistakes_.empty()) {
      refuse(R"(has no runs; they are written as "vary": {"objective.rank_weight": [0, 1, 10]} or as )"
             R"("runs": {"sft": {"objective.rank_loss": "none"}})");
    }
    if (!mistakes_.empty()) throw InputError("grid", fmt::format("{}", fmt::join(mistakes_, "\n")));
  }

 private:
  void refuse(const std::string& problem) { mistakes_.push_back(fmt::format("{}: {}", file_.where, problem)); }

  void take(const std::string& key, const Json& value) {
    if (key == "config" && value.is_object()) {
      file_.settings = by_key_path(key, value);
    } else if (key == "config") {
      take_text(key, value, "a config file's path or an object of settings", file_.config);
    } else if (key == "preset") {
      take_text(key, value, "a preset's name", file_.preset);
    } else if (key == "output") {
      take_text(key, value, "a folder", file_.output);
    } else if (key == "set") {
      take_object(key, value, file_.set);
    } else if (key == "measure") {
      take_object(key, value, file_.measure);
    } else if (key == "vary") {
      take_vary(value);
    } else if (key == "runs") {
      take_runs(value);
    } else if (key == "seeds") {
      take_seeds(value);
    } else {
      const std::string_view nearest = nearest_word(key, grid_keys);
      refuse(fmt::format("\"{}\" is not a key of a grid{}. Keys: {}", printable(shorten(key, 80)),
                         edit_distance(key, nearest) <= 2 ? fmt::format("; nearest: \"{}\"", nearest) : "",
                         fmt::join(grid_keys, ", ")));
    }
  }

  void take_text(const std::string& key, const Json& value, std::string_view what, std::string& text) {
    if (value.is_string() && !value.get_ref<const std::string&>().empty()) {
      text = value.get<std::string>();
    } else {
      refuse(fmt::format("\"{}\" must be {}; found {}", key, what, describe(value)));
    }
  }

  void take_object(const std::string& key, const Json& value, Json& object) {
    if (value.is_object()) {
      object = by_key_path(key, value);
    } else {
      refuse(fmt::format(R"("{}" must be an object, {{"key.path": value}}; found {})", key, describe(value)));
    }
  }

  void take_vary(const Json& value) {
    take_object("vary", value, file_.vary);
    std::size_t combinations = 1;
    for (const auto& [key, values] : file_.vary.items()) {
      const std::string shown = printable(shorten(key, 80));
      if (!values.is_array() || values.empty()) {
        refuse(fmt::format("vary.{} must be an array of values; found {}", shown,
                           values.is_array() ? "an empty one" : describe(values)));
      } else if (is_section(key)) {
        refuse(fmt::format("vary.{0} is a section; vary its settings, \"{0}.NAME\": [...]", shown));
      }
      combinations = std::min(most_runs + 1, combinations * std::max<std::size_t>(1, values.size()));
    }
    if (combinations > most_runs) refuse(fmt::format("vary has more than {} combinations", most_runs));
  }

  void take_runs(const Json& value) {
    if (!value.is_object()) return take_object("runs", value, file_.runs);
    for (const auto& [name, changes] : value.items()) {
      const std::string shown = printable(shorten(name, 80));
      if (changes.is_object()) {
        file_.runs[name] = by_key_path("runs." + shown, changes);
      } else {
        refuse(fmt::format(R"(runs.{} must be an object, {{"key.path": value}}; found {})", shown, describe(changes)));
      }
      if (!is_run_name(name)) {
        refuse(
            fmt::format("runs: \"{}\" can't be a run's name, which is a folder's: no \"/\", no \".\" in front, at most "
                        "{} bytes, none "
                        "of {}",
                        shown, longest_run_name, fmt::join(taken_names, ", ")));
      }
    }
  }

  void take_seeds(const Json& value) {
    if (!value.is_array() || value.empty()) {
      return refuse(fmt::format("\"seeds\" must be an array of whole numbers from 0 on; found {}",
                                value.is_array() ? "an empty one" : describe(value)));
    }
    std::set<std::int64_t> seen;
    for (const Json& seed : value) {
      // A number beyond 64 bits with a sign reads as a negative one here.
      if (!seed.is_number_integer() || seed.get<std::int64_t>() < 0) {
        refuse(fmt::format("seeds: {} is not a whole number from 0 to 2^63 - 1", shorten(dump_json(seed), 40)));
      } else if (!seen.insert(seed.get<std::int64_t>()).second) {
        refuse(fmt::format("seeds: {} is there twice", seed.get<std::int64_t>()));
      } else {
        file_.seeds.push_back(seed.get<std::int64_t>());
      }
    }
  }

  // {"objective": {"rank_weight": 1}} as {"objective.rank_weight": 1}.
  Json by_key_path(const std::string& part, const Json& values) {
    Json flat = Json::object();
    const auto take = [&](const std::string& key, const Json& value) {
      if (flat.contains(key)) refuse(fmt::format("{}: {} is given twice", part, printable(shorten(key, 80))));
      flat[key] = value;
    };
    for (const auto& [key, value] : values.items()) {
      if (!is_section(key) || !value.is_object()) {
        take(key, value);
        continue;
      }
      for (const auto& [name, inner] : value.items()) take(key + "." + name, inner);
    }
    return flat;
  }

  GridFile& file_;
  std::vector<std::string> mistakes_;
};

}  // namespace

GridFile read_grid_file(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  GridFile file{.where = path.string(), .output = "runs/" + path.stem().string()};
  if (is_blank(text)) throw_input("grid", "{}: is empty; a grid is an object {{...}}", file.where);
  const Json root = parse_json(text, "grid", file.where, {.comments = true});
  if (!root.is_object()) throw_input("grid", "{}: a grid is an object {{...}}; found {}", file.where, describe(root));
  GridFileReader(file).read(root);
  return file;
}

std::vector<Override> overrides_of(const Json& values, const std::string& where) {
  std::vector<Override> overrides;
  for (const auto& [key, value] : values.items()) overrides.push_back({key, dump_json(value), where});
  return overrides;
}

}  // namespace rrhf::config
