#include "rrhf/format/bytes.h"

#include <algorithm>
#include <cctype>

#include "rrhf/core/error.h"

namespace rrhf::format {

std::string shown(std::string_view text) {
  constexpr std::size_t longest = 80;
  std::string result(text.substr(0, longest));
  for (char& c : result) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) c = '?';
  }
  return text.size() > longest ? result + "..." : result;
}

void refuse_other_files(std::span<const std::byte> bytes, std::string_view operation, std::string_view where) {
  const std::string_view start = text_of(bytes).substr(0, 64);
  if (bytes.empty()) throw_input(operation, "{}: is empty", where);
  if (start.starts_with("version https://git-lfs")) {
    throw_input(operation, "{}: is a Git LFS pointer, not the weights; `git lfs pull` where it came from fetches them",
                where);
  }
  std::string lower(start);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower.starts_with("<!doctype html") || lower.starts_with("<html")) {
    throw_input(operation, "{}: is a web page, not weights: the download gave an error page; fetch the file again",
                where);
  }
}

}  // namespace rrhf::format
