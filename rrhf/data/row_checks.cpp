#include "rrhf/data/row_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>

#include "rrhf/data/encode.h"

namespace rrhf::data {
namespace {

template <class T>
IndexGroups equal_groups(const std::vector<T>& values, ResponseChoice choice) {
  std::map<T, std::size_t> group_of;
  IndexGroups groups;
  const ResponseRange chosen = chosen_responses(choice, values.size());
  for (std::size_t i = chosen.first; i < chosen.first + chosen.size; ++i) {
    const auto [at, is_new] = group_of.emplace(values[i], groups.size());
    if (is_new) groups.emplace_back();
    groups[at->second].push_back(i);
  }
  std::erase_if(groups, [](const auto& group) { return group.size() < 2; });
  return groups;
}

void append_pair_warnings(const RankedExample& row, ResponseChoice choice, std::vector<RowWarning>& warnings) {
  constexpr const char* consequence = "no pair to rank, only the SFT loss counts";
  const ResponseRange chosen = chosen_responses(choice, row.scores.size());
  if (chosen.size == 1) {
    const std::string among = choice == ResponseChoice::all ? "" : fmt::format(" that is {}", name_of(choice));
    warnings.push_back({fmt::format("one response{}: {}", among, consequence), /*of_pairs=*/true});
    return;
  }
  const auto scores = std::span(row.scores).subspan(chosen.first, chosen.size);
  for (const auto& group : tied_responses(row, choice)) {
    const bool all = group.size() == scores.size();
    const char* missing = group.size() > 2 ? "no pairs among them" : "no pair between them";
    const bool of_best = row.scores[group[0]] == *std::ranges::max_element(scores);
    warnings.push_back({fmt::format("scores of responses {} tie ({}): {}", list_indices(group), row.scores[group[0]],
                                    all ? consequence : missing),
                        /*of_pairs=*/!of_best});
  }
}

}  // namespace

IndexGroups tied_responses(const RankedExample& row, ResponseChoice choice) { return equal_groups(row.scores, choice); }

IndexGroups duplicate_responses(const RankedExample& row, ResponseChoice choice) {
  return equal_groups(row.responses, choice);
}

std::vector<std::size_t> empty_responses(const RankedExample& row, ResponseChoice choice) {
  std::vector<std::size_t> empty;
  const ResponseRange chosen = chosen_responses(choice, row.responses.size());
  for (std::size_t i = chosen.first; i < chosen.first + chosen.size; ++i) {
    if (row.responses[i].empty()) empty.push_back(i);
  }
  return empty;
}

std::string list_indices(const std::vector<std::size_t>& indices) {
  std::string list;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (i > 0) list += i + 1 == indices.size() ? " and " : ", ";
    list += fmt::format("{}", indices[i]);
  }
  return list;
}

std::vector<RowWarning> row_warnings(const RankedExample& row, ResponseChoice choice) {
  std::vector<RowWarning> warnings;
  const auto empty = empty_responses(row, choice);
  if (empty.size() == 1) warnings.push_back({fmt::format("response {} is empty", empty[0])});
  if (empty.size() > 1) warnings.push_back({fmt::format("responses {} are empty", list_indices(empty))});
  for (const auto& group : duplicate_responses(row, choice)) {
    warnings.push_back({fmt::format("responses {} are the same text", list_indices(group))});
  }
  append_pair_warnings(row, choice, warnings);
  return warnings;
}

}  // namespace rrhf::data
