#include "rrhf/cli/command.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <iterator>

#include "rrhf/config/options.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/nearest.h"
#include "rrhf/distributed/environment.h"
#include "rrhf/objective/rank_loss.h"

namespace rrhf::cli {
namespace {

namespace fs = std::filesystem;

// Where the configs that come with the program stand: beside the sources it was built from or, where it was moved, in
// configs/ beside it or one folder up.
fs::path preset_folder() {
  std::error_code failure;
  const fs::path beside = fs::read_symlink("/proc/self/exe", failure).parent_path();
  for (const fs::path& folder : {fs::path(RRHF_CONFIG_DIR), beside / "configs", beside.parent_path() / "configs"}) {
    if (fs::is_directory(folder, failure)) return folder;
  }
  return RRHF_CONFIG_DIR;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(preset_folder(), missing)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

// "--epochs" was meant for another flag of the command, or, where it takes settings, for one of these. Empty where
// nothing is near.
std::string meant_instead(const std::string& flag, const cxxopts::Options& options) {
  std::vector<std::string> names;
  for (const std::string& group : options.groups()) {
    for (const auto& option : options.group_help(group).options) std::ranges::copy(option.l, std::back_inserter(names));
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  const std::string_view nearest = nearest_word(flag, views);
  if (edit_distance(flag, nearest) <= 2) return fmt::format("; nearest: --{}", nearest);
  if (std::ranges::find(names, "set") == names.end()) return "";
  config::RunConfig config;
  std::string key = flag;
  std::ranges::replace(key, '-', '_');
  for (const config::Option& option : config::options_of(config)) {
    const bool named = option.key == key || option.key == key + ".path" || config::last_part(option.key) == key ||
                       (" " + std::string(option.other_names) + " ").find(" " + key + " ") != std::string::npos;
    if (named) return fmt::format("; it is a setting: --set {}=...", option.key);
  }
  return config::is_section(key) ? fmt::format("; {0} is a group of settings, --set {0}.NAME=...", key) : "";
}

// What cxxopts names in a message.
std::string quoted_in(std::string_view message) {
  const std::size_t begin = message.find(cxxopts::LQUOTE), end = message.rfind(cxxopts::RQUOTE);
  if (begin == message.npos || end == message.npos) return "";
  return std::string(message.substr(begin + cxxopts::LQUOTE.size(), end - begin - cxxopts::LQUOTE.size()));
}

}  // namespace

fs::path preset_path(const std::string& name) {
  const fs::path path = preset_folder() / (name + ".json");
  if (fs::path(name).filename() != name || !path_exists(path)) {
    throw_input("config", "{} is not a preset; there are: {}", name, fmt::join(preset_names(), ", "));
  }
  return path;
}

std::optional<cxxopts::ParseResult> parse(cxxopts::Options& options, int argc, const char* const* argv) {
  options.add_options()("h,help", "Print this help");
  try {
    auto result = options.parse(argc, argv);
    if (result.count("help") > 0) {
      std::cout << options.help();
      return std::nullopt;
    }
    if (!result.unmatched().empty()) throw_input("usage", "{} is one argument too many", result.unmatched().front());
    return result;
  } catch (const cxxopts::exceptions::no_such_option& failure) {
    throw_input("usage", "{}{} ({} --help lists the flags)", failure.what(),
                meant_instead(quoted_in(failure.what()), options), options.program());
  } catch (const cxxopts::exceptions::exception& failure) {
    throw_input("usage", "{} ({} --help lists the flags)", failure.what(), options.program());
  }
}

std::vector<std::string> values(const cxxopts::ParseResult& arguments, const std::string& flag) {
  return arguments.count(flag) > 0 ? arguments[flag].as<std::vector<std::string>>() : std::vector<std::string>{};
}

std::string text_of(const cxxopts::ParseResult& arguments, const std::string& flag) {
  return arguments.count(flag) > 0 ? arguments[flag].as<std::string>() : "";
}

std::int64_t number_of(const cxxopts::ParseResult& arguments, const std::string& flag, std::int64_t otherwise,
                       std::int64_t least) {
  if (arguments.count(flag) == 0) return otherwise;
  const std::string word = text_of(arguments, flag);
  std::int64_t number = 0;
  const auto [rest, failure] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (failure != std::errc() || rest != word.data() + word.size() || number < least) {
    throw_input("usage", "--{} {}: a whole number from {} on is needed", flag, word, least);
  }
  return number;
}

int count_flag(const cxxopts::ParseResult& arguments, const char* flag) {
  const std::int64_t count = number_of(arguments, flag, 1, 1);
  if (count > 4096) throw_input("usage", "--{} is {}; it must be from 1 to 4096", flag, count);
  return static_cast<int>(count);
}

std::vector<config::Override> given_overrides(const cxxopts::ParseResult& arguments) {
  std::vector<config::Override> overrides;
  for (const std::string& text : values(arguments, "set")) overrides.push_back(config::parse_override(text));
  return overrides;
}

void require_one_process(std::string_view command, std::string_view instead) {
  const distributed::Meeting meeting = distributed::read_environment();
  if (meeting.place.size == 1) return;
  throw_input("usage", "{} is one process, {} started {}; {}", command,
              meeting.starter.empty() ? "the environment" : meeting.starter, meeting.place.size, instead);
}

void add_config_flags(cxxopts::Options& options) {
  options.add_options()("config", "Config file (JSON with // comments)", cxxopts::value<std::string>(), "CONFIG.json")(
      "preset", "A config that comes with the program", cxxopts::value<std::string>(), "NAME")(
      "set", "Override one setting; may be repeated", cxxopts::value<std::vector<std::string>>(), "key.path=value");
}

config::Resolved resolve(const cxxopts::ParseResult& arguments, std::vector<config::Override> extra) {
  std::vector<config::Override> overrides = given_overrides(arguments);
  std::ranges::move(extra, std::back_inserter(overrides));
  const bool file = arguments.count("config") > 0, preset = arguments.count("preset") > 0;
  if (file && preset) throw_input("usage", "a config file and --preset exclude each other");
  const auto known = objective::rank_loss_names();
  if (file) return config::resolve_file(arguments["config"].as<std::string>(), overrides, known);
  if (preset) return config::resolve_file(preset_path(arguments["preset"].as<std::string>()), overrides, known);
  return config::resolve("", "--set", overrides, known);
}

config::RunConfig resolve_config(const cxxopts::ParseResult& arguments, std::vector<config::Override> extra) {
  const config::Resolved resolved = resolve(arguments, std::move(extra));
  for (const std::string& warning : resolved.warnings) warn("{}", warning);
  return resolved.config;
}

}  // namespace rrhf::cli
