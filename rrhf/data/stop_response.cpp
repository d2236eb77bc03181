#include <fmt/format.h>

#include <array>

#include "rrhf/core/unicode.h"
#include "rrhf/data/encode.h"
#include "rrhf/data/row_checks.h"

namespace rrhf::data {

std::string stop_response(std::string_view response) {
  constexpr std::array<std::string_view, 4> turns{"\n\nHuman:", "\n\nAssistant:", "\n\nhuman:", "\n\nassistant:"};
  for (const std::string_view turn : turns) {
    const std::size_t at = response.find(turn);
    if (at != std::string_view::npos) response = strip(response.substr(0, at));
  }
  return std::string(response);
}

std::string stop_warning(const RankedExample& row, bool stop_responses) {
  if (!stop_responses) return "";
  std::vector<std::size_t> cut;
  for (std::size_t i = 0; i < row.responses.size(); ++i) {
    if (!row.responses[i].empty() && stop_response(row.responses[i]).empty()) cut.push_back(i);
  }
  if (cut.empty()) return "";
  return fmt::format("response{} {} {} empty once data.stop_response has cut where the dialogue goes on",
                     cut.size() == 1 ? "" : "s", list_indices(cut), cut.size() == 1 ? "is" : "are");
}

}  // namespace rrhf::data
