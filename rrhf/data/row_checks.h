// What is odd about a row without making it unusable: empty responses, duplicates, ties. Of the responses that
// data.responses chooses, by their places among all.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/data/ranked_example.h"

namespace rrhf::data {

/// Groups of responses that are equal in some way: two or more indices each, ascending; groups by their first index.
using IndexGroups = std::vector<std::vector<std::size_t>>;

IndexGroups tied_responses(const RankedExample& row, ResponseChoice choice = ResponseChoice::all);
IndexGroups duplicate_responses(const RankedExample& row, ResponseChoice choice = ResponseChoice::all);
std::vector<std::size_t> empty_responses(const RankedExample& row, ResponseChoice choice = ResponseChoice::all);

/// An oddity in one line, as `rrhf data validate` prints it.
struct RowWarning {
  std::string text;
  bool of_pairs = false;  ///< it says that pairs are missing and no more: it leaves plain fine-tuning as it is, while a
                          ///< tie for the best decides which response that learns
};

/// One for each oddity, those of pairs last.
std::vector<RowWarning> row_warnings(const RankedExample& row, ResponseChoice choice);

/// "0", "0 and 1", "0, 1 and 3".
std::string list_indices(const std::vector<std::size_t>& indices);

}  // namespace rrhf::data
