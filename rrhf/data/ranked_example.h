// Ranked responses as the files hold them, and where each row stood.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rrhf::data {

/// Where a row stands. Rows are numbered from 0 within a file, lines from 1.
struct RowLocation {
  std::string file;
  std::int64_t row = 0;
  std::int64_t line = 0;  ///< 0 in an array file, where byte says the place
  std::size_t byte = 0;   ///< offset of the element in an array file (uncompressed)

  /// "file.jsonl:17", or "file.json row 5 (byte 18,211)".
  std::string text() const;

  /// "line 17", or "row 5 (byte 18,211)".
  std::string within_file() const;
};

/// A query with its responses and their rewards, index by index. k = responses.size() = scores.size() >= 1.
struct RankedExample {
  std::string query;
  std::vector<std::string> responses;
  std::vector<double> scores;        ///< rewards, finite, larger is better
  std::vector<std::string> writers;  ///< who wrote each response; empty when the data do not say
  std::string group;                 ///< for evaluation by group; "" when the data do not say
  RowLocation where;
};

/// Number of pairs of responses with unequal scores, each pair counted once.
std::int64_t unequal_pairs(const std::vector<double>& scores);

/// The first index of the highest score. `scores` must not be empty.
std::size_t best_response(const std::vector<double>& scores);

}  // namespace rrhf::data
