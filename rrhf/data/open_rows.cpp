#include "rrhf/data/open_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"
#include "rrhf/data/frames.h"
#include "rrhf/data/layout.h"
#include "rrhf/data/queries.h"
#include "rrhf/data/reader.h"
#include "rrhf/data/row_fields.h"

namespace rrhf::data {
namespace {

using Mistakes = std::vector<std::string>;

// The scores of an RRHF row, null where there is none.
Json scores_of(const Json& json, std::size_t responses, RowFields& fields) {
  const Json none = std::vector<Json>(responses, Json());
  const auto scores = json.find("scores");
  if (scores == json.end() || scores->is_null()) return none;
  if (!scores->is_array() || scores->size() != responses) {
    fields.note(fmt::format("\"scores\" is {}; it must hold a number or null for each of {} responses, or be left out",
                            shorten(describe(*scores), 60), responses));
    return none;
  }
  for (const Json& score : *scores) {
    if (score.is_number() || score.is_null()) continue;
    fields.note(fmt::format("\"scores\" holds {}; a number or null is needed", shorten(describe(score), 60)));
    return none;
  }
  return *scores;
}

// Queries with or without responses, scored or not.
OpenRow read_rrhf(const Json& json, RowFields& fields) {
  OpenRow row;
  row.query = fields.string("query");
  if (fields.has("responses")) row.responses = fields.strings("responses");
  row.json["query"] = row.query;
  row.json["responses"] = row.responses;
  row.json["scores"] = scores_of(json, row.responses.size(), fields);
  for (const char* key : {"writers", "sources"}) {
    if (!fields.has(key)) continue;
    const auto names = fields.strings(key);
    if (fields.has_array(key) && !names.empty() && names.size() != row.responses.size()) {
      fields.note(fmt::format("\"{}\" has {} names for {} responses", key, names.size(), row.responses.size()));
    }
  }
  for (const auto& [key, value] : json.items()) {
    if (!row.json.contains(key)) row.json[key] = value;
  }
  return row;
}

OpenRow read_other(const Layout& layout, const Json& json, RowFields& fields) {
  RankedExample example;
  layout.parse(fields, example);
  OpenRow row;
  row.query = example.query;
  row.responses = example.responses;
  row.json = as_rrhf_row(json, example);
  return row;
}

// The layout of the format, whatever the row's keys, as training reads it; null for a row of the RRHF layout that is
// not finished, which may stand in a file of any format.
const Layout* layout_of(const Json& json, DataFormat format) {
  const Layout* layout = find_layout(json, format);
  const auto spelled = [](const auto& item) { return is_word_of_layout(item.key()); };
  const auto items = json.items();
  const bool open = json.contains("query") && std::none_of(items.begin(), items.end(), spelled);
  return layout != nullptr || open ? layout : only_layout(format);
}

OpenRow read_row(const Frame& frame, DataFormat format, Mistakes& mistakes) {
  if (!frame.broken.empty()) {
    mistakes.push_back(frame.broken);
    return {};
  }
  const Json json = parse_json_row(frame.text);
  if (!json.is_object()) {
    mistakes.push_back(fmt::format("the row is {}; an object is needed", shorten(describe(json), 60)));
    return {};
  }
  const Layout* layout = layout_of(json, format);
  if (layout == nullptr && !json.contains("query")) {
    mistakes.push_back(fmt::format("has no \"query\" and is of no known layout; its keys are: {}", list_keys(json)));
    return {};
  }
  RowFields fields(json);
  const bool rrhf = layout == nullptr || layout->format == DataFormat::rrhf;
  OpenRow row = rrhf ? read_rrhf(json, fields) : read_other(*layout, json, fields);
  if (fields.has("group")) fields.string("group");  // which only training would read
  mistakes = std::move(fields).mistakes();
  if (std::string mistake = not_finite_mistake(json); mistakes.empty() && !mistake.empty()) {
    mistakes.push_back(std::move(mistake));
  }
  return row;
}

std::vector<OpenRow> rows_of_queries(const std::filesystem::path& file) {
  std::vector<OpenRow> rows;
  for (Query& query : read_queries(file)) {
    Json json;
    json["query"] = query.text;
    json["responses"] = Json::array();
    json["scores"] = Json::array();
    rows.push_back({std::move(query.where), std::move(query.text), {}, std::move(json)});
  }
  return rows;
}

// `more` before or after the elements of the array `json[key]`.
void extend(Json& json, const char* key, const Json& more, Place place) {
  Json& list = json[key];
  list.insert(place == Place::first ? list.begin() : list.end(), more.begin(), more.end());
}

}  // namespace

std::vector<OpenRow> read_open_rows(const std::filesystem::path& file, DataFormat format) {
  if (holds_text_queries(file)) return rows_of_queries(file);
  FrameReader frames(file);
  std::vector<OpenRow> rows;
  std::vector<Problem> problems;
  while (const auto frame = frames.next()) {
    Mistakes mistakes;
    OpenRow row;
    try {
      row = read_row(*frame, format, mistakes);
    } catch (const JsonSyntax& syntax) {
      mistakes.push_back(fmt::format("not JSON: {} (byte {})", shorten(syntax.reason(), 120), syntax.byte()));
    }
    for (std::string& mistake : mistakes) problems.push_back({Severity::error, frame->where, std::move(mistake)});
    row.where = frame->where;
    rows.push_back(std::move(row));
  }
  require_no_errors(problems, "");
  if (rows.empty()) throw_input("data", "{}: holds no row", file.string());
  return rows;
}

std::vector<Query> queries_of(std::span<const OpenRow> rows) {
  std::vector<Query> queries;
  for (const OpenRow& row : rows) queries.push_back({row.query, row.where});
  return queries;
}

Json with_responses(const OpenRow& row, std::span<const std::string> responses, const std::string& writer,
                    Place place) {
  Json json = row.json;
  const auto listed = [&](const char* key) { return json.contains(key) && json[key].is_array(); };
  const char* names = listed("sources") && !listed("writers") ? "sources" : "writers";
  const bool named = listed(names) && json[names].size() == row.responses.size();
  if (!named) json[names] = std::vector<std::string>(row.responses.size());
  extend(json, "responses", std::vector<std::string>(responses.begin(), responses.end()), place);
  extend(json, "scores", std::vector<Json>(responses.size(), Json()), place);
  extend(json, names, std::vector<std::string>(responses.size(), writer), place);
  return json;
}

}  // namespace rrhf::data
