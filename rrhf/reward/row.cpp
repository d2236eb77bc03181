#include "rrhf/reward/row.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/data/frames.h"
#include "rrhf/data/layout.h"
#include "rrhf/data/reader.h"
#include "rrhf/data/row_fields.h"

namespace rrhf::reward {
namespace {

using Mistakes = std::vector<data::Problem>;

void note(Mistakes& mistakes, const data::RowLocation& where, std::string message) {
  mistakes.push_back({data::Severity::error, where, std::move(message)});
}

// The scores a row of the RRHF layout came with. Numbers that are not finite read as null.
std::optional<std::vector<std::optional<double>>> scores_before(const Json& json, std::size_t responses) {
  std::vector<std::optional<double>> before(responses);
  const auto scores = json.find("scores");
  if (scores == json.end() || scores->is_null()) return before;
  if (!scores->is_array() || scores->size() != responses) return std::nullopt;
  for (std::size_t i = 0; i < responses; ++i) {
    const Json& score = (*scores)[i];
    if (!score.is_number() && !score.is_null()) return std::nullopt;
    if (score.is_number() && std::isfinite(score.get<double>())) before[i] = score.get<double>();
  }
  return before;
}

// The example of a row whose scores may be missing: its layout reads it with zeros in their place.
data::RankedExample parse_example(const data::Layout& layout, const Json& json, const data::RowLocation& where,
                                  Mistakes& mistakes) {
  Json filled = json;
  const auto responses = json.find("responses");
  if (layout.format == DataFormat::rrhf && responses != json.end() && responses->is_array()) {
    filled["scores"] = std::vector<double>(responses->size(), 0.0);
  }
  data::RowFields fields(filled);
  data::RankedExample example;
  layout.parse(fields, example);
  for (std::string& mistake : std::move(fields).mistakes()) note(mistakes, where, std::move(mistake));
  return example;
}

void read_row(const data::Frame& frame, DataFormat format, std::vector<Row>& rows, Mistakes& mistakes) {
  if (!frame.broken.empty()) return note(mistakes, frame.where, frame.broken);
  Json json = parse_json_row(frame.text);
  if (!json.is_object()) {
    return note(mistakes, frame.where, fmt::format("the row is {}; an object is needed", describe(json)));
  }
  const data::Layout* layout = data::only_layout(format);
  if (layout == nullptr) layout = data::find_layout(json, format);
  if (layout == nullptr) {
    return note(mistakes, frame.where, fmt::format("of no known layout: it has the keys {}", data::list_keys(json)));
  }
  const std::size_t mistakes_before = mistakes.size();
  data::RankedExample example = parse_example(*layout, json, frame.where, mistakes);
  if (mistakes.size() > mistakes_before) return;
  const bool as_it_stands = layout->format == DataFormat::rrhf;
  auto before = as_it_stands ? scores_before(json, example.responses.size())
                             : std::vector<std::optional<double>>(example.scores.begin(), example.scores.end());
  if (!before) {
    return note(mistakes, frame.where,
                fmt::format("\"scores\" must be a list of {} numbers (null where there is none), or be left out",
                            example.responses.size()));
  }
  Json kept = json;
  kept.erase("scores");  // which are replaced, whatever they are
  if (std::string mistake = data::not_finite_mistake(kept); !mistake.empty()) {
    return note(mistakes, frame.where, std::move(mistake));
  }
  if (!as_it_stands) {
    // Names and groups, which its own layout has not read, are there as in a row of the RRHF layout.
    json = data::as_rrhf_row(json, example);
    example = parse_example(data::rrhf_layout, json, frame.where, mistakes);
    if (mistakes.size() > mistakes_before) return;
  }
  rows.push_back({frame.where, std::move(json), std::move(example.query), std::move(example.responses),
                  std::move(*before), std::move(example.group)});
}

}  // namespace

std::vector<Row> read_rows(const std::filesystem::path& file, DataFormat format,
                           const std::function<void(double)>& on_progress) {
  data::FrameReader frames(file);
  std::vector<Row> rows;
  Mistakes mistakes;
  while (const auto frame = frames.next()) {
    try {
      read_row(*frame, format, rows, mistakes);
    } catch (const JsonSyntax& syntax) {
      note(mistakes, frame->where, fmt::format("not JSON: {} (byte {})", syntax.reason(), syntax.byte()));
    }
    if (on_progress) on_progress(frames.share_read());
  }
  data::require_no_errors(mistakes);
  if (rows.empty()) throw_input("data", "{}: holds no row", file.string());
  return rows;
}

std::string scored_line(const Row& row, const std::vector<double>& scores) {
  Json json = row.json;
  json["scores"] = scores;
  return dump_json(json);
}

std::string scored_line(const Row& row, const std::vector<std::optional<double>>& scores) {
  Json json = row.json;
  std::vector<double> kept;
  for (const auto& score : scores) {
    if (score) kept.push_back(*score);
  }
  json["scores"] = kept;
  for (const char* key : {"responses", "writers", "sources"}) {
    const auto list = json.find(key);
    if (list == json.end() || !list->is_array() || list->size() != scores.size()) continue;
    Json rest = Json::array();
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (scores[i]) rest.push_back((*list)[i]);
    }
    *list = std::move(rest);
  }
  return dump_json(json);
}

}  // namespace rrhf::reward
