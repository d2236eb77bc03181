#include "rrhf/report/settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "rrhf/core/unicode.h"
#include "rrhf/report/format.h"

namespace rrhf::report {
namespace {

constexpr std::array<std::string_view, 3> not_compared{"output", "recipe", "objective.rank_loss"};

// What the scores are divided by and what they are log-probs of.
constexpr std::array<std::string_view, 4> makers_of_scores{"objective.normalization", "objective.length_penalty",
                                                           "data.encoding", "data.template"};

using Settings = std::vector<std::pair<std::string, std::string>>;  // key and value, in order

// The end of a long text tells paths apart.
std::string short_end(const std::string& text) {
  constexpr std::size_t most = 28;
  if (code_points(text) <= most) return text;
  const std::string valid = valid_utf8(text);
  return fmt::format("...{}", last_code_points(valid, most - 3));
}

std::string text_of(const Json& value) {
  if (value.is_array() && value.size() == 1) return text_of(value[0]);
  return value.is_string() ? value.get<std::string>() : dump_json(value);
}

void flatten(const Json& json, const std::string& prefix, Settings& settings) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      flatten(value, prefix + key + ".", settings);
    } else {
      settings.emplace_back(prefix + key, text_of(value));
    }
  }
}

Settings settings_of(const RunRecord& run) {
  Settings settings;
  if (run.config.is_object()) flatten(run.config, "", settings);
  return settings;
}

const std::string* value_of(const Settings& settings, std::string_view key) {
  const auto found = std::ranges::find(settings, key, &Settings::value_type::first);
  return found == settings.end() ? nullptr : &found->second;
}

bool differs(const std::vector<Settings>& runs, std::string_view key) {
  const std::string* first = nullptr;
  for (const Settings& run : runs) {
    const std::string* value = value_of(run, key);
    if (value != nullptr && first != nullptr && *value != *first) return true;
    if (first == nullptr) first = value;
  }
  return false;
}

std::vector<std::string> differing_keys_of(const std::vector<Settings>& runs) {
  std::vector<std::string> keys;
  for (const Settings& run : runs) {
    for (const auto& [key, value] : run) {
      if (std::ranges::count(keys, key) == 0 && differs(runs, key)) keys.push_back(key);
    }
  }
  return keys;
}

std::vector<Settings> all_settings(std::span<const RunRecord> runs) {
  std::vector<Settings> all;
  for (const RunRecord& run : runs) all.push_back(settings_of(run));
  return all;
}

std::optional<std::int64_t> whole_number(const RunRecord& run, const char* section, const char* key) {
  const Json::json_pointer place(fmt::format("/{}/{}", section, key));
  if (!run.config.is_object() || !run.config.contains(place) || !run.config.at(place).is_number_integer()) return {};
  return run.config.at(place).get<std::int64_t>();
}

}  // namespace

std::optional<std::int64_t> planned_steps(const RunRecord& run) {
  if (run.steps.empty() || run.steps[0].step != 1) return std::nullopt;
  const auto queries = run.steps[0].value("queries"), epochs_done = run.steps[0].value("epoch");
  const auto epochs = whole_number(run, "train", "epochs"), most = whole_number(run, "train", "max_steps");
  const auto size = whole_number(run, "train", "queries_per_step");
  if (!queries || !epochs_done || !epochs || !size || !(*epochs_done > 0) || *size < 1) return std::nullopt;
  const double of_epoch = std::round(*queries / *epochs_done);
  const double step = std::min(of_epoch, static_cast<double>(*size));
  const bool carried = setting(run.config, {"train", "epoch_end"}) == "carry" && step < of_epoch;
  const double steps =
      static_cast<double>(*epochs) * (carried ? std::floor(of_epoch / step) : std::ceil(of_epoch / step));
  constexpr double most_exact = 0x1p53;
  if (!(steps < most_exact)) return most;
  return std::min(static_cast<std::int64_t>(steps), most.value_or(static_cast<std::int64_t>(steps)));
}

std::string steps_done(const RunRecord& run) {
  if (run.steps.empty()) return "-";
  const std::int64_t done = run.steps.back().step;
  const auto planned = planned_steps(run);
  return planned.value_or(done) > done ? fmt::format("{} of {}", done, *planned) : fmt::format("{}", done);
}

std::vector<DifferingSetting> differing_settings(std::span<const RunRecord> runs) {
  const std::vector<Settings> all = all_settings(runs);
  std::vector<DifferingSetting> differing;
  for (const std::string& key : differing_keys_of(all)) {
    if (std::ranges::count(not_compared, key) > 0) continue;
    DifferingSetting setting{key, {}};
    for (const Settings& run : all) {
      const std::string* value = value_of(run, key);
      setting.values.push_back(value == nullptr ? "-" : printable(short_end(*value)));
    }
    differing.push_back(std::move(setting));
  }
  return differing;
}

std::vector<std::string> comparison_notes(std::span<const RunRecord> runs) {
  std::vector<std::string> notes, hidden, makers;
  const std::vector<DifferingSetting> differing = differing_settings(runs);
  for (std::size_t i = 0; i < differing.size(); ++i) {
    const std::string& key = differing[i].key;
    if (i >= most_settings_shown) hidden.push_back(key);
    if (std::ranges::count(makers_of_scores, key) > 0) makers.push_back(key);
  }
  if (!hidden.empty()) notes.push_back(fmt::format("other settings that differ: {}", fmt::join(hidden, ", ")));
  if (!makers.empty()) {
    notes.push_back(
        fmt::format("the runs differ in {}: their accuracies and margins are of different scores and can't be compared",
                    fmt::join(makers, ", ")));
  }
  return notes;
}

}  // namespace rrhf::report
