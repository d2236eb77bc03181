// HH-RLHF: two whole dialogues that begin alike. The query is what they share, up to the last "\n\nAssistant:" in it;
// the responses are what follows, white space and all.
#include <algorithm>

#include "rrhf/data/layout.h"

namespace rrhf::data {
namespace {

constexpr std::string_view turn = "\n\nAssistant:";

// Length of the shared query, or 0 when the dialogues share no turn of the assistant.
std::size_t shared_query(std::string_view chosen, std::string_view rejected) {
  const auto differ = std::mismatch(chosen.begin(), chosen.end(), rejected.begin(), rejected.end());
  const std::string_view common = chosen.substr(0, static_cast<std::size_t>(differ.first - chosen.begin()));
  const std::size_t at = common.rfind(turn);
  return at == std::string_view::npos ? 0 : at + turn.size();
}

bool matches_hh(const Json& row) {
  return row.contains("chosen") && row.contains("rejected") && !row.contains("prompt");
}

void parse_hh(RowFields& fields, RankedExample& example) {
  const std::string chosen = fields.string("chosen");
  const std::string rejected = fields.string("rejected");
  const bool both_read = fields.has_string("chosen") && fields.has_string("rejected");
  const std::size_t length = shared_query(chosen, rejected);
  if (length == 0 && both_read) {
    fields.note("\"chosen\" and \"rejected\" share no beginning that ends in \"\\n\\nAssistant:\"");
    return;
  }
  example.query = chosen.substr(0, length);
  example.responses = {chosen.substr(length), rejected.substr(length)};
  example.scores = {1, 0};
}

}  // namespace

const Layout hh_layout{DataFormat::hh, "HH-RLHF", "chosen, rejected (whole dialogues)", false, matches_hh, parse_hh};

}  // namespace rrhf::data
