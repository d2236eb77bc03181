#include "rrhf/data/ranked_example.h"

#include <algorithm>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"

namespace rrhf::data {

std::string RowLocation::text() const {
  if (line > 0) return fmt::format("{}:{}", file, line);
  return fmt::format("{} {}", file, within_file());
}

std::string RowLocation::within_file() const {
  if (line > 0) return fmt::format("line {}", line);
  return fmt::format("row {} (byte {})", row, with_commas(static_cast<long long>(byte)));
}

std::int64_t unequal_pairs(const std::vector<double>& scores) {
  std::int64_t pairs = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    for (std::size_t j = i + 1; j < scores.size(); ++j) pairs += scores[i] != scores[j];
  }
  return pairs;
}

std::size_t best_response(const std::vector<double>& scores) {
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

}  // namespace rrhf::data
