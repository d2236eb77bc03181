#include "rrhf/config/grid_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <span>

#include "rrhf/config/options.h"
#include "rrhf/core/sha256.h"

namespace rrhf::config {
namespace {

namespace fs = std::filesystem;

// Bytes that a value takes in a name at most.
constexpr std::size_t longest_value = 40;

bool plain_in_names(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '+' ||
         c == '-' || c == '_';
}

// What tells a file or folder apart: "rankings" of "data/rankings.jsonl", "sft" of "runs/sft/model".
std::string end_of_path(const std::string& text) {
  const fs::path whole = text, path = whole.has_filename() ? whole : whole.parent_path();
  const fs::path parent = path.parent_path().filename();
  return path.filename() == "model" && !parent.empty() ? parent.string() : path.stem().string();
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
    if (text.find('/') != std::string::npos) text = end_of_path(text);
  }
  std::ranges::replace_if(
      text, [](char c) { return !plain_in_names(c); }, '_');
  return text.substr(0, longest_value);
}

}  // namespace

std::string name_with_hash(const std::string& name, const Json& changes) {
  constexpr std::size_t digits = 8;
  return fmt::format("{}-{}", name.substr(0, longest_run_name - digits - 1),
                     sha256_of(dump_json(changes)).substr(0, digits));
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
  return name.size() <= longest_run_name ? name : name_with_hash(name, changes);
}

}  // namespace rrhf::config
