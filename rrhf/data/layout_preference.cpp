// Preference rows, as in Dahoas/rm-static and TRL: the prompt stands apart from the two responses.
#include "rrhf/data/layout.h"

namespace rrhf::data {
namespace {

bool matches_preference(const Json& row) {
  return row.contains("prompt") && row.contains("chosen") && row.contains("rejected");
}

void parse_preference(RowFields& fields, RankedExample& example) {
  example.query = fields.string("prompt");
  example.responses = {fields.string("chosen"), fields.string("rejected")};
  example.scores = {1, 0};
}

}  // namespace

const Layout preference_layout{DataFormat::preference, "preference",    "prompt, chosen, rejected", false,
                               matches_preference,     parse_preference};

}  // namespace rrhf::data
