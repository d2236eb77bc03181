// UTF-8 as the formats at hand need it: validity, and white space as Python's str.strip() sees it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rrhf {

/// The byte offset of the first sequence that is not valid UTF-8 (overlong forms and surrogates included), or npos.
std::size_t find_invalid_utf8(std::string_view text);

/// `text` with every invalid byte replaced by U+FFFD, so that JSON writers take it.
std::string valid_utf8(std::string_view text);

/// White space of Python's str.strip(): ASCII's with 0x1c-0x1f, and Unicode's (U+0085, U+00A0, U+1680, U+2000-200A,
/// ...).
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
std::string_view strip(std::string_view text);

/// What stands between white space, as Python's str.split(): no empty parts.
std::vector<std::string_view> split_words(std::string_view text);

/// `text` with control characters (U+0000-001F, U+007F-009F) as "\u001b" has them, so that nothing of it moves a
/// terminal's cursor or breaks a line.
std::string printable(std::string_view text);

/// Number of code points; invalid bytes count as one each.
std::size_t code_points(std::string_view text);

/// The first `count` code points, with "..." where something was left out: for messages and tables.
std::string shorten(std::string_view text, std::size_t count);

/// The last `count` code points of valid UTF-8; all of a shorter text.
std::string_view last_code_points(std::string_view text, std::size_t count);

/// `text` as one word of a shell's command line, whatever is in it; plain words stay as they are.
std::string shell_word(std::string_view text);

}  // namespace rrhf
