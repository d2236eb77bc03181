#include "rrhf/data/queries.h"

#include <fmt/format.h>

#include "rrhf/core/error.h"
#include "rrhf/core/stream.h"
#include "rrhf/core/unicode.h"
#include "rrhf/data/reader.h"
#include "rrhf/data/row_fields.h"

namespace rrhf::data {
namespace {

// What a line holds, or what is wrong with it.
struct ReadLine {
  std::string query;
  std::string mistake;
};

ReadLine read_json_query(std::string_view line) {
  try {
    const Json json = parse_json_row(line);
    if (!json.is_object()) {
      return {{}, fmt::format("the line is {}; an object with \"query\" is needed", shorten(describe(json), 60))};
    }
    RowFields fields(json);
    std::string query = fields.string("query");
    const auto mistakes = std::move(fields).mistakes();
    return {std::move(query), mistakes.empty() ? "" : mistakes.front()};
  } catch (const JsonSyntax& syntax) {
    return {{}, fmt::format("not JSON: {} (byte {} of the line)", shorten(syntax.reason(), 120), syntax.byte())};
  }
}

ReadLine read_line(std::string_view line, bool text) {
  if (strip(line).empty()) return {{}, "the line is empty; every line must hold a query"};
  if (!text) return read_json_query(line);
  const std::size_t bad = find_invalid_utf8(line);
  if (bad == std::string_view::npos) return {std::string(line), {}};
  return {{}, fmt::format("not valid UTF-8 (byte {} of the line)", bad)};
}

}  // namespace

bool holds_text_queries(const std::filesystem::path& file) {
  const std::filesystem::path name = file.extension() == ".gz" ? file.stem() : file;
  return name.extension() == ".txt";
}

std::vector<Query> read_queries(const std::filesystem::path& file) {
  const bool text = holds_text_queries(file);
  ByteStream stream(file);
  LineReader lines(stream);
  std::vector<Query> queries;
  std::vector<Problem> problems;
  while (const auto line = lines.next(file.string())) {
    const RowLocation where{file.string(), std::ssize(queries), static_cast<std::int64_t>(line->number), 0};
    ReadLine read = read_line(line->text, text);
    if (!read.mistake.empty()) problems.push_back({Severity::error, where, std::move(read.mistake)});
    queries.push_back({std::move(read.query), where});
  }
  require_no_errors(problems, "");
  if (queries.empty()) throw_input("data", "{}: the file is empty", file.string());
  return queries;
}

}  // namespace rrhf::data
