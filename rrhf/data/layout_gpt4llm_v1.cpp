// GPT-4-LLM comparison v1: completion_a is GPT-4's answer, completion_b the other one. The file holds no scores, the
// order of the two is the ranking.
#include "rrhf/data/layout.h"

namespace rrhf::data {
namespace {

bool matches_v1(const Json& row) { return row.contains("completion_a") || row.contains("completion_b"); }

void parse_v1(RowFields& fields, RankedExample& example) {
  example.query = fields.string("user_input");
  example.responses = {fields.string("completion_a"), fields.string("completion_b")};
  example.scores = {2, 1};
}

}  // namespace

const Layout gpt4llm_v1_layout{DataFormat::gpt4llm,
                               "GPT-4-LLM comparison v1",
                               "user_input, completion_a, completion_b",
                               true,
                               matches_v1,
                               parse_v1};

}  // namespace rrhf::data
