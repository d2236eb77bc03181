// Rows whose responses or scores are still to come, as `rrhf sample` reads and writes them.
//
// A row of the RRHF layout that is not finished has null among its "scores" for each response that is not scored yet;
// "scores" may also be left out, as may "responses". `rrhf score` fills the scores in; training takes no such row.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/data/queries.h"
#include "rrhf/data/ranked_example.h"

namespace rrhf::data {

struct OpenRow {
  RowLocation where;
  std::string query;
  std::vector<std::string> responses;  ///< may be none
  Json json;  ///< the row in the RRHF layout: its "responses" and "scores" as long as `responses`; other keys kept
};

/// All rows of a file in order: of any layout, of "query" alone, or of a prompts file (queries.h). Row r of the file is
/// element r. Throws InputError naming up to 20 broken rows, and for a file without a row.
std::vector<OpenRow> read_open_rows(const std::filesystem::path& file, DataFormat format);

/// What is asked in each row.
std::vector<Query> queries_of(std::span<const OpenRow> rows);

enum class Place { first, last };

/// The row with further responses, not scored yet, before or after its own; "writers" (or "sources", where the row has
/// that) say `writer` for them, and "" for responses whose writer was not known.
Json with_responses(const OpenRow& row, std::span<const std::string> responses, const std::string& writer, Place place);

}  // namespace rrhf::data
