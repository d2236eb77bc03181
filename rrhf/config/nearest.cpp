#include "rrhf/config/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace rrhf::config {
namespace {

// How far `key` is from a setting that goes by `name` in its section. The wrong section costs less than a wrong letter,
// so that a right name always wins.
double distance_to(std::string_view key, std::string_view section, std::string_view name) {
  const std::string whole = section.empty() ? std::string(name) : fmt::format("{}.{}", section, name);
  const bool same_section = section_of(key) == section;
  const double by_name = static_cast<double>(edit_distance(last_part(key), name)) + (same_section ? 0 : 0.5);
  return std::min(by_name, static_cast<double>(edit_distance(key, whole)));
}

double distance_to(std::string_view key, const Option& option) {
  double least = distance_to(key, section_of(option.key), last_part(option.key));
  std::istringstream names{std::string(option.other_names)};
  for (std::string name; names >> name;) {
    // A little farther than the real name at the same distance.
    least = std::min(least, 0.25 + distance_to(key, section_of(option.key), name));
  }
  return least;
}

const Option& nearest_option(std::string_view key, const std::vector<Option>& options) {
  return *std::min_element(options.begin(), options.end(), [key](const Option& a, const Option& b) {
    return distance_to(key, a) < distance_to(key, b);
  });
}

// Beyond this a name is another word, and naming it would only lead astray.
bool is_near(double distance, std::string_view name) {
  const auto size = static_cast<double>(name.size());
  return distance <= std::min(1.5 + size / 3, 0.75 * size);
}

// The setting that `key` names and then goes on, as "train.epochs.x" does.
const Option* setting_before(std::string_view key, const std::vector<Option>& options) {
  const auto found =
      std::ranges::find_if(options, [key](const Option& option) { return key.starts_with(option.key + "."); });
  return found == options.end() ? nullptr : &*found;
}

std::string section_names() {
  std::vector<std::string_view> names;
  for (const Section& section : sections()) names.push_back(section.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string settings_of(std::string_view section, const std::vector<Option>& options) {
  std::vector<std::string_view> names;
  for (const Option& option : options) {
    if (section_of(option.key) == section) names.push_back(last_part(option.key));
  }
  const std::string list = fmt::format("{}", fmt::join(names, ", "));
  if (section.empty()) return fmt::format("Settings outside a section: {}; sections: {}", list, section_names());
  return fmt::format("Settings of {}: {}", section, list);
}

}  // namespace

std::string unknown_setting(std::string_view key, const std::vector<Option>& options) {
  if (const Option* whole = setting_before(key, options)) {
    return fmt::format("{} is not a setting: {} is one, and has no parts", key, whole->key);
  }
  const Option& nearest = nearest_option(key, options);
  const bool near = is_near(distance_to(key, nearest), last_part(key));
  const std::string_view section = is_section(section_of(key)) ? section_of(key)
                                   : near                      ? section_of(nearest.key)
                                                               : std::string_view();
  return fmt::format("{} is not a setting{}. {}", key, near ? fmt::format("; nearest: {}", nearest.key) : "",
                     settings_of(section, options));
}

std::string unknown_section(std::string_view name) {
  const auto nearest = std::min_element(sections().begin(), sections().end(), [name](const auto& a, const auto& b) {
    return edit_distance(name, a.name) < edit_distance(name, b.name);
  });
  const bool near = is_near(static_cast<double>(edit_distance(name, nearest->name)), name);
  return fmt::format("{} is not a section{}. Sections: {}", name,
                     near ? fmt::format("; nearest: {}", nearest->name) : "", section_names());
}

}  // namespace rrhf::config
