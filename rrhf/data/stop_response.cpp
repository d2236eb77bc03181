#include <array>

#include "rrhf/core/unicode.h"
#include "rrhf/data/encode.h"

namespace rrhf::data {

std::string stop_response(std::string_view response) {
  constexpr std::array<std::string_view, 4> turns{"\n\nHuman:", "\n\nAssistant:", "\n\nhuman:", "\n\nassistant:"};
  for (const std::string_view turn : turns) {
    const std::size_t at = response.find(turn);
    if (at != std::string_view::npos) response = strip(response.substr(0, at));
  }
  return std::string(response);
}

}  // namespace rrhf::data
