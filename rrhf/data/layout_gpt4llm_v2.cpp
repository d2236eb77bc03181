// GPT-4-LLM comparison v2: "responses_and_scores" is a list of {"response", "source", "score"}; source names the
// writer.
#include <fmt/format.h>

#include <algorithm>

#include "rrhf/core/unicode.h"
#include "rrhf/data/layout.h"

namespace rrhf::data {
namespace {

constexpr std::string_view list_key = "responses_and_scores";

bool matches_v2(const Json& row) { return row.contains(list_key); }

void parse_response(const Json& element, std::size_t index, RowFields& fields, RankedExample& example) {
  const std::string path = fmt::format("\"{}\"[{}]", list_key, index);
  if (!element.is_object()) {
    fields.note(fmt::format("{} is {}; an object is needed", path, shorten(describe(element), 60)));
    return;
  }
  RowFields part(element, path + ".");
  example.responses.push_back(part.string("response"));
  example.scores.push_back(part.number("score"));
  example.writers.push_back(part.has("source") ? part.string("source") : "");
  fields.note_all(std::move(part));
}

void parse_v2(RowFields& fields, RankedExample& example) {
  example.query = fields.string("user_input");
  const auto elements = fields.elements(list_key);
  if (elements.empty() && fields.has_array(list_key)) {
    fields.note(fmt::format("\"{}\" is empty; a row needs at least one response", list_key));
  }
  for (std::size_t i = 0; i < elements.size(); ++i) parse_response(*elements[i], i, fields, example);
  const bool anonymous = std::ranges::all_of(example.writers, [](const auto& writer) { return writer.empty(); });
  if (anonymous) example.writers.clear();
}

}  // namespace

const Layout gpt4llm_v2_layout{DataFormat::gpt4llm,
                               "GPT-4-LLM comparison v2",
                               "user_input, responses_and_scores [{response, source, score}]",
                               true,
                               matches_v2,
                               parse_v2};

}  // namespace rrhf::data
