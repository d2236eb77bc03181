#include "rrhf/data/row_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace rrhf::data {
namespace {

template <class T>
IndexGroups equal_groups(const std::vector<T>& values) {
  std::map<T, std::size_t> group_of;
  IndexGroups groups;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto [at, is_new] = group_of.emplace(values[i], groups.size());
    if (is_new) groups.emplace_back();
    groups[at->second].push_back(i);
  }
  std::erase_if(groups, [](const auto& group) { return group.size() < 2; });
  return groups;
}

void append_pair_warnings(const RankedExample& row, std::vector<RowWarning>& warnings) {
  constexpr const char* consequence = "no pair to rank, only the SFT loss counts";
  if (row.scores.size() == 1) {
    warnings.push_back({fmt::format("one response: {}", consequence), /*of_pairs=*/true});
    return;
  }
  for (const auto& group : tied_responses(row)) {
    const bool all = group.size() == row.scores.size();
    const char* missing = group.size() > 2 ? "no pairs among them" : "no pair between them";
    const bool of_best = row.scores[group[0]] == *std::ranges::max_element(row.scores);
    warnings.push_back({fmt::format("scores of responses {} tie ({}): {}", list_indices(group), row.scores[group[0]],
                                    all ? consequence : missing),
                        /*of_pairs=*/!of_best});
  }
}

}  // namespace

IndexGroups tied_responses(const RankedExample& row) { return equal_groups(row.scores); }

IndexGroups duplicate_responses(const RankedExample& row) { return equal_groups(row.responses); }

std::vector<std::size_t> empty_responses(const RankedExample& row) {
  std::vector<std::size_t> empty;
  for (std::size_t i = 0; i < row.responses.size(); ++i) {
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

std::vector<RowWarning> row_warnings(const RankedExample& row) {
  std::vector<RowWarning> warnings;
  const auto empty = empty_responses(row);
  if (empty.size() == 1) warnings.push_back({fmt::format("response {} is empty", empty[0])});
  if (empty.size() > 1) warnings.push_back({fmt::format("responses {} are empty", list_indices(empty))});
  for (const auto& group : duplicate_responses(row)) {
    warnings.push_back({fmt::format("responses {} are the same text", list_indices(group))});
  }
  append_pair_warnings(row, warnings);
  return warnings;
}

}  // namespace rrhf::data
