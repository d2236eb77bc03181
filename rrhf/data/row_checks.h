// What is odd about a row without making it unusable: empty responses, duplicates, ties.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "rrhf/data/ranked_example.h"

namespace rrhf::data {

/// Groups of responses that are equal in some way: two or more indices each, ascending; groups by their first index.
using IndexGroups = std::vector<std::vector<std::size_t>>;

IndexGroups tied_responses(const RankedExample& row);
IndexGroups duplicate_responses(const RankedExample& row);
std::vector<std::size_t> empty_responses(const RankedExample& row);

/// An oddity in one line, as `rrhf data validate` prints it.
struct RowWarning {
  std::string text;
  bool of_pairs = false;  ///< it says that pairs are missing and no more: it leaves plain fine-tuning as it is, while a
                          ///< tie for the best decides which response that learns
};

/// One for each oddity, those of pairs last.
std::vector<RowWarning> row_warnings(const RankedExample& row);

/// "0", "0 and 1", "0, 1 and 3".
std::string list_indices(const std::vector<std::size_t>& indices);

}  // namespace rrhf::data
