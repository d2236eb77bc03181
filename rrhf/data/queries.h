// Prompts files: queries without responses.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "rrhf/data/ranked_example.h"

namespace rrhf::data {

struct Query {
  std::string text;
  RowLocation where;
};

/// A file whose name ends with .txt holds a query a line; any other, JSON lines with "query" (other keys are passed
/// over). Plain or gzip-compressed. Row r of the file is element r.
/// Throws InputError naming up to 20 lines that are empty, are no JSON, or have no "query"; and for a file that is
/// missing or holds nothing.
std::vector<Query> read_queries(const std::filesystem::path& file);

/// True when read_queries() takes a line of the file as a query.
bool holds_text_queries(const std::filesystem::path& file);

}  // namespace rrhf::data
