// Scores that another program computed, matched with the rows they belong to.
//
// JSON lines (or one array), in any mixture:
//     {"query", "response", "score"}                   every row with this query and this response
//     {"row", "response_index", "score"}               by number, both from 0
//     {"row", "response", "score"}                     by number and text
//     {"row", "scores": [k numbers]}                   a whole row
// "query" may be given beside "row", and "response" beside "response_index": they must then agree.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rrhf/reward/row.h"

namespace rrhf::reward {

struct Merged {
  std::vector<std::vector<std::optional<double>>> scores;  ///< an entry for each response of each row
  std::vector<std::string> mismatches;  ///< entries that fit nothing, or contradict another: "FILE:7: ..."
  std::vector<std::string> missing;     ///< responses that no entry gave a score: "data.jsonl:3: response 2"
  std::int64_t entries = 0;
};

/// Matches all entries of the file with the rows and says everything that does not fit.
/// Throws InputError when the file is missing, empty or no longer readable.
Merged merge_scores(const std::filesystem::path& file, std::span<const Row> rows);

/// Throws InputError with ALL mismatches, and with all responses left without a score unless `allow_missing`.
void require_complete(const Merged& merged, bool allow_missing);

}  // namespace rrhf::reward
