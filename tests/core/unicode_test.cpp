#include "rrhf/core/unicode.h"

#include <gtest/gtest.h>

namespace rrhf {
namespace {

constexpr auto none = std::string_view::npos;

TEST(Unicode, FindsWhatIsNotUtf8) {
  EXPECT_EQ(find_invalid_utf8(""), none);
  EXPECT_EQ(find_invalid_utf8(std::string_view("a\0é你🦙", 11)), none);
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2u);            // a continuation byte alone
  EXPECT_EQ(find_invalid_utf8("\xc0\xaf"), 0u);          // overlong
  EXPECT_EQ(find_invalid_utf8("\xe0\x80\x80"), 0u);      // overlong
  EXPECT_EQ(find_invalid_utf8("\xf0\x8f\xbf\xbf"), 0u);  // overlong
  EXPECT_EQ(find_invalid_utf8("a\xed\xa0\x80"), 1u);     // a surrogate
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(find_invalid_utf8("\xf5\x80\x80\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("a\xe4\xbd"), 1u);           // cut short
  EXPECT_EQ(find_invalid_utf8("\xf4\x8f\xbf\xbf"), none);  // U+10FFFF
}

TEST(Unicode, ReplacesInvalidBytesOneByOne) {
  EXPECT_EQ(valid_utf8("a\xff\xc3z"), "a\ufffd\ufffdz");
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(valid_utf8("é你🦙"), "é你🦙");
}

TEST(Unicode, StripsAsPythonDoes) {
  EXPECT_EQ(strip(" \t\n\v\f\r\x1c\x1d\x1e\x1f x \x1f"), "x");
  EXPECT_EQ(strip("\u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000x\u3000\u00a0"), "x");
  EXPECT_EQ(strip("\u200bx\ufeff"), "\u200bx\ufeff");  // a zero width space is none, nor is the byte order mark
  EXPECT_EQ(strip(std::string_view("\0 x", 3)), std::string_view("\0 x", 3));
  EXPECT_EQ(strip_left(" a "), "a ");
  EXPECT_EQ(strip_right(" a "), " a");
  EXPECT_EQ(strip("\n \n"), "");
  EXPECT_EQ(strip(""), "");
  EXPECT_EQ(strip_right("a\x80 "), "a\x80");  // invalid bytes end the stripping
  EXPECT_EQ(strip_right("\x80\x80"), "\x80\x80");
}

TEST(Unicode, SplitsWordsAsPython) {
  using Words = std::vector<std::string_view>;
  EXPECT_EQ(split_words("  red\tsun\n\u3000\u4f60\u597d\x1c b "), (Words{"red", "sun", "\u4f60\u597d", "b"}));
  EXPECT_EQ(split_words(""), Words{});
  EXPECT_EQ(split_words(" \n"), Words{});
  EXPECT_EQ(split_words("a\xff b"), (Words{"a\xff", "b"}));
}

TEST(Unicode, CountsAndShortensByCodePoints) {
  EXPECT_EQ(code_points("aé你🦙"), 4u);
  EXPECT_EQ(code_points("a\xff\xfe"), 3u);
  EXPECT_EQ(code_points(""), 0u);
  EXPECT_EQ(shorten("aé你🦙", 4), "aé你🦙");
  EXPECT_EQ(shorten("aé你🦙", 2), "aé...");
  EXPECT_EQ(shorten("ab", 0), "...");
  EXPECT_EQ(shorten("\xff"
                    "ab",
                    2),
            "\ufffd"
            "a...");
}

TEST(Printable, WritesControlCharactersOut) {
  EXPECT_EQ(printable("a\x1b[2J\n\tb\x7f \u0085 \u00e9 \u6f22"),
            "a\\u001b[2J\\u000a\\u0009b\\u007f \\u0085 \u00e9 \u6f22");
  EXPECT_EQ(printable("\xff"), "\xff") << "what is not UTF-8 is left to valid_utf8()";
}

TEST(LastCodePoints, CountsCodePointsAndNotBytes) {
  EXPECT_EQ(last_code_points("abc", 2), "bc");
  EXPECT_EQ(last_code_points("abc", 9), "abc");
  EXPECT_EQ(last_code_points("abc", 0), "");
  EXPECT_EQ(last_code_points("a\u00e9\u4e2d\U0001f600", 3), "\u00e9\u4e2d\U0001f600");
}

TEST(ShellWord, QuotesWhatAShellWouldTakeApart) {
  EXPECT_EQ(shell_word("runs/a_b-1.2,x=3"), "runs/a_b-1.2,x=3");
  EXPECT_EQ(shell_word("no SFT"), "'no SFT'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("$HOME"), "'$HOME'");
}

}  // namespace
}  // namespace rrhf
