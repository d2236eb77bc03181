// The rows that are scored: ranked rows that need no scores yet, and keep whatever else they carry.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/data/ranked_example.h"

namespace rrhf::reward {

/// A query with its responses. k = responses.size() = before.size() >= 1.
struct Row {
  data::RowLocation where;
  Json json;  ///< in the RRHF layout: the row as it stood, or as `rrhf data convert` writes it, other keys kept
  std::string query;
  std::vector<std::string> responses;
  std::vector<std::optional<double>> before;  ///< the scores it came with; nothing where there was none, or null
  std::string group;
};

/// All rows of a file in any layout of rrhf/data, in order. In the RRHF layout "scores" may be missing or null, as a
/// whole or for some responses. `on_progress` gets the share read.
/// Throws InputError naming up to 20 problems when any row is broken, or when the file has no row.
std::vector<Row> read_rows(const std::filesystem::path& file, DataFormat format,
                           const std::function<void(double)>& on_progress = {});

/// What a scorer says of a row: a number a response, or why there is none.
struct RowScore {
  std::vector<double> scores;
  std::string skipped;  ///< "" where there are scores
};

/// The row as one line of RRHF JSON, its scores replaced.
std::string scored_line(const Row& row, const std::vector<double>& scores);

/// The row without the responses that have no score (their names among "writers" or "sources" go with them).
/// `scores` has an entry a response; at least one is a number.
std::string scored_line(const Row& row, const std::vector<std::optional<double>>& scores);

}  // namespace rrhf::reward
