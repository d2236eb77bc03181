#include "rrhf/core/unicode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

namespace rrhf {
namespace {

struct Decoded {
  char32_t code = 0;
  std::size_t length = 0;  // 0: not valid UTF-8 here
};

Decoded decode(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
  const std::uint8_t first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (length == 0 || first > 0xf4 || at + length > text.size()) return {};
  char32_t code = first & (0xff >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3f);
  }
  const char32_t smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < smallest || surrogate || code > 0x10ffff) return {};
  return {code, length};
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = decode(text, at).length;
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

std::string valid_utf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = decode(text, at).length;
    if (length == 0) {
      result += "\xef\xbf\xbd";
      ++at;
    } else {
      result += text.substr(at, length);
      at += length;
    }
  }
  return result;
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty()) {
    const Decoded first = decode(text, 0);
    if (first.length == 0 || !is_space(first.code)) break;
    text.remove_prefix(first.length);
  }
  return text;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && (static_cast<std::uint8_t>(text[start]) & 0xc0) == 0x80) --start;
    const Decoded last = decode(text, start);
    if (last.length != text.size() - start || !is_space(last.code)) break;
    text.remove_suffix(last.length);
  }
  return text;
}

std::string_view strip(std::string_view text) { return strip_left(strip_right(text)); }

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    std::size_t end = 0;
    while (end < text.size()) {
      const Decoded next = decode(text, end);
      if (next.length > 0 && is_space(next.code)) break;
      end += std::max<std::size_t>(1, next.length);
    }
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return words;
}

std::string printable(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const Decoded next = decode(text, at);
    const std::size_t length = std::max<std::size_t>(1, next.length);
    const bool control = next.length > 0 && (next.code < 0x20 || (next.code >= 0x7f && next.code < 0xa0));
    if (control) {
      result += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(next.code));
    } else {
      result += text.substr(at, length);
    }
    at += length;
  }
  return result;
}

std::size_t code_points(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) at += std::max<std::size_t>(1, decode(text, at).length);
  return count;
}

std::string_view last_code_points(std::string_view text, std::size_t count) {
  std::size_t at = text.size();
  while (at > 0 && count > 0) {
    const bool inside = (static_cast<unsigned char>(text[--at]) & 0xc0) == 0x80;  // of a code point of several bytes
    if (!inside) --count;
  }
  return text.substr(at);
}

std::string shell_word(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./=,+:@%").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::ranges::all_of(text, plain)) return std::string(text);
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

std::string shorten(std::string_view text, std::size_t count) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < count && at < text.size(); ++i) at += std::max<std::size_t>(1, decode(text, at).length);
  std::string result = valid_utf8(text.substr(0, at));
  return at < text.size() ? result + "..." : result;
}

}  // namespace rrhf
