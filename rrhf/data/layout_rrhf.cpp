// {"query", "responses": [k strings], "scores": [k numbers]}, and if the data say: "writers" (or "sources"), "group".
#include <fmt/format.h>

#include "rrhf/data/layout.h"

namespace rrhf::data {
namespace {

// A null score is one to come, as `rrhf sample` writes it.
bool note_unscored(RowFields& fields) {
  if (!fields.has_array("scores")) return false;
  std::size_t first = 0, unscored = 0, at = 0;
  for (const Json* score : fields.elements("scores")) {
    if (score->is_null() && unscored++ == 0) first = at;
    ++at;
  }
  if (unscored == 0) return false;
  fields.note(fmt::format("\"scores\"[{}] is null: not scored yet; rrhf score gives every response a score{}", first,
                          unscored == 1 ? "" : fmt::format(" (and {} more of them)", unscored - 1)));
  return true;
}

void check_lengths(RowFields& fields, const RankedExample& example) {
  if (!fields.has_array("responses") || !fields.has_array("scores")) return;  // noted already
  const std::size_t responses = example.responses.size();
  const std::size_t scores = fields.elements("scores").size();
  if (responses == 0) {
    fields.note("\"responses\" is empty; a row needs at least one response");
  } else if (scores != responses) {
    fields.note(fmt::format("\"scores\" has {} number{} for {} response{}; every response needs one", scores,
                            scores == 1 ? "" : "s", responses, responses == 1 ? "" : "s"));
  }
}

void parse_writers(RowFields& fields, RankedExample& example) {
  const std::string_view key = fields.has("writers") ? "writers" : "sources";
  if (!fields.has(key)) return;
  example.writers = fields.strings(key);
  if (!fields.has_array(key) || example.writers.empty() || example.writers.size() == example.responses.size()) return;
  fields.note(fmt::format("\"{}\" has {} names for {} responses; every response needs one, or leave the key out", key,
                          example.writers.size(), example.responses.size()));
}

bool matches_rrhf(const Json& row) { return row.contains("query") && row.contains("responses"); }

void parse_rrhf(RowFields& fields, RankedExample& example) {
  example.query = fields.string("query");
  example.responses = fields.strings("responses");
  if (!note_unscored(fields)) example.scores = fields.numbers("scores");
  check_lengths(fields, example);
  parse_writers(fields, example);
  if (fields.has("group")) example.group = fields.string("group");
}

}  // namespace

const Layout rrhf_layout{DataFormat::rrhf, "RRHF",    "query, responses [strings], scores [numbers]", false,
                         matches_rrhf,     parse_rrhf};

}  // namespace rrhf::data
