#include "rrhf/data/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace rrhf::data {
namespace {

// Asked in this order: a preference row also has the keys of an HH row.
constexpr std::array layouts{&rrhf_layout, &gpt4llm_v1_layout, &gpt4llm_v2_layout, &preference_layout, &hh_layout};

constexpr std::array<std::string_view, 7> words_of_layouts{
    "user_input", "completion_a", "completion_b", "responses_and_scores", "chosen", "rejected", "prompt"};

bool in_format(const Layout& layout, DataFormat format) {
  return format == DataFormat::automatic || layout.format == format;
}

}  // namespace

const Layout* find_layout(const Json& row, DataFormat format) {
  if (!row.is_object()) return nullptr;
  for (const Layout* layout : layouts) {
    if (in_format(*layout, format) && layout->matches(row)) return layout;
  }
  return nullptr;
}

const Layout* only_layout(DataFormat format) {
  const Layout* only = nullptr;
  for (const Layout* layout : layouts) {
    if (!in_format(*layout, format)) continue;
    if (only != nullptr) return nullptr;
    only = layout;
  }
  return only;
}

bool is_word_of_layout(std::string_view key) {
  return std::ranges::find(words_of_layouts, key) != words_of_layouts.end();
}

Json rrhf_row(const RankedExample& example) {
  Json result;
  result["query"] = example.query;
  result["responses"] = example.responses;
  result["scores"] = example.scores;
  if (!example.writers.empty()) result["writers"] = example.writers;
  if (!example.group.empty()) result["group"] = example.group;
  return result;
}

Json as_rrhf_row(const Json& row, const RankedExample& example) {
  Json result = rrhf_row(example);
  for (const auto& [key, value] : row.items()) {
    if (!is_word_of_layout(key) && !result.contains(key)) result[key] = value;
  }
  return result;
}

std::string list_layouts(DataFormat format) {
  std::string list;
  for (const Layout* layout : layouts) {
    if (!in_format(*layout, format)) continue;
    list += fmt::format("{}  {:<11} {:<24} {}", list.empty() ? "" : "\n", name_of(layout->format), layout->name,
                        layout->keys);
  }
  return list;
}

std::string describe_layout(const Layout& layout, bool is_array) {
  if (!is_array) return fmt::format("{} JSON lines", layout.name);
  return layout.usually_array ? std::string(layout.name) : fmt::format("{} JSON array", layout.name);
}

}  // namespace rrhf::data
