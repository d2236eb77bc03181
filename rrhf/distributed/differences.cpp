#include "rrhf/distributed/differences.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace rrhf::distributed {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string shown(const std::vector<std::string_view>& lines, std::size_t i) {
  if (i >= lines.size()) return "nothing";
  std::string_view line = lines[i];
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return std::string(line.substr(0, 200));
}

}  // namespace

std::string differences(std::string_view first, std::string_view other, int most) {
  const auto left = lines_of(first), right = lines_of(other);
  const std::size_t count = std::max(left.size(), right.size());
  const char* gap = count > 1 ? "\n  " : " ";
  std::string text;
  int found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i < left.size() && i < right.size() && left[i] == right[i]) continue;
    if (++found <= most) text += fmt::format("{}{}   (rank 0: {})", gap, shown(right, i), shown(left, i));
  }
  if (found > most) text += fmt::format("\n  and {} more", found - most);
  return text;
}

}  // namespace rrhf::distributed
