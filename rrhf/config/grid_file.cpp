#include "rrhf/config/grid_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

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
constexpr std::size_t longest_name = 100;

// A name is a folder beside those that the ablation makes.
bool is_run_name(std::string_view name) {
  const bool plain = std::ranges::none_of(name, [](char c) { return c == '/' || static_cast<unsigned char>(c) < ' '; });
  return plain && !name.empty() && name.size() <= longest_name && name[0] != '.' && name != "start" &&
         find_invalid_utf8(name) == std::string_view::npos;
}

// {"objective": {"rank_weight": 1}} as {"objective.rank_weight": 1}.
Json by_key_path(const Json& values) {
  Json flat = Json::object();
  for (const auto& [key, value] : values.items()) {
    if (!is_section(key) || !value.is_object()) {
      flat[key] = value;
      continue;
    }
    for (const auto& [name, part] : value.items()) flat[key + "." + name] = part;
  }
  return flat;
}

class GridFileReader {
 public:
  explicit GridFileReader(GridFile& file) : file_(file) {}

  void read(const Json& root) {
    for (const auto& [key, value] : root.items()) take(key, value);
    const bool any = !file_.config.empty() || !file_.preset.empty() || root.contains("config");
    const bool both = root.contains("config") && root.contains("preset");
    if (!any) refuse("names no config: \"config\" is a config file's path or an object of settings, \"preset\" a name");
    if (both) refuse("\"config\" and \"preset\" exclude each other");
    if (file_.vary.empty() && file_.runs.empty()) {
      refuse(R"(has no runs: "vary" is {"objective.rank_weight": [0, 1, 10]}, "runs" {"sft": {"objective.rank_loss": )"
             R"("none"}})");
    }
    if (!mistakes_.empty()) throw InputError("grid", fmt::format("{}", fmt::join(mistakes_, "\n")));
  }

 private:
  void refuse(const std::string& problem) { mistakes_.push_back(fmt::format("{}: {}", file_.where, problem)); }

  void take(const std::string& key, const Json& value) {
    if (key == "config" && value.is_object()) {
      file_.settings = value;
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
      object = by_key_path(value);
    } else {
      refuse(fmt::format(R"("{}" must be an object, {{"key.path": value}}; found {})", key, describe(value)));
    }
  }

  void take_vary(const Json& value) {
    take_object("vary", value, file_.vary);
    for (const auto& [key, values] : file_.vary.items()) {
      if (values.is_array() && !values.empty()) continue;
      refuse(fmt::format("vary.{} must be an array of values; found {}", printable(shorten(key, 80)),
                         values.is_array() ? "an empty one" : describe(values)));
    }
  }

  void take_runs(const Json& value) {
    if (!value.is_object()) return take_object("runs", value, file_.runs);
    for (const auto& [name, changes] : value.items()) {
      const std::string shown = printable(shorten(name, 80));
      if (changes.is_object()) {
        file_.runs[name] = by_key_path(changes);
      } else {
        refuse(fmt::format(R"(runs.{} must be an object, {{"key.path": value}}; found {})", shown, describe(changes)));
      }
      if (!is_run_name(name)) {
        refuse(
            fmt::format("runs: \"{}\" can't be a run's name, which is a folder's: no \"/\", no \".\" in front, not "
                        "\"start\", at most {} bytes",
                        shown, longest_name));
      }
    }
  }

  void take_seeds(const Json& value) {
    std::set<std::int64_t> seen;
    bool whole = value.is_array() && !value.empty();
    for (const Json& seed : value.is_array() ? value : Json::array()) {
      whole = whole && seed.is_number_integer() && seed.get<std::int64_t>() >= 0;
      if (whole && !seen.insert(seed.get<std::int64_t>()).second) {
        refuse(fmt::format("seeds: {} is there twice", seed.get<std::int64_t>()));
      }
      if (whole) file_.seeds.push_back(seed.get<std::int64_t>());
    }
    if (!whole) refuse(fmt::format("\"seeds\" must be an array of whole numbers from 0 on; found {}", describe(value)));
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
