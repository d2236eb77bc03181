#include "rrhf/reward/text_parts.h"

#include "rrhf/core/unicode.h"

namespace rrhf::reward {

std::vector<std::string_view> sentences(std::string_view text) {
  std::vector<std::string_view> parts;
  text = strip(text);
  std::size_t begin = 0;
  for (std::size_t at = 0; at + 1 < text.size(); ++at) {
    if (text[at] != '.' && text[at] != '!' && text[at] != '?') continue;
    const std::string_view rest = text.substr(at + 1);
    const std::size_t space = rest.size() - strip_left(rest).size();
    if (space == 0) continue;
    parts.push_back(text.substr(begin, at + 1 - begin));
    begin = at + 1 + space;
    at += space;
  }
  if (begin < text.size()) parts.push_back(text.substr(begin));
  return parts;
}

std::vector<std::string_view> places(std::string_view text, Place place) {
  if (place == Place::anywhere) return {text};
  std::vector<std::string_view> parts = sentences(text);
  if (parts.empty() || place == Place::sentences) return parts;
  return {place == Place::first_sentence ? parts.front() : parts.back()};
}

}  // namespace rrhf::reward
