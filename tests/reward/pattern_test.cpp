#include "rrhf/reward/pattern.h"

#include "support.h"

namespace rrhf::reward {
namespace {

using testing::input_error;

TEST(Pattern, FindsAndCaptures) {
  const auto match = Pattern("(a+)(b)?(c)").find("xaac");
  ASSERT_TRUE(match);
  EXPECT_EQ(match->begin, 1u);
  EXPECT_EQ(match->end, 4u);
  EXPECT_EQ(match->groups[1], "aa");
  EXPECT_EQ(match->groups[2], std::nullopt);
  EXPECT_EQ(match->groups[3], "c");
}

TEST(Pattern, TrailingGroupsThatTookNoPartAreNothing) {
  const auto match = Pattern("a|(b)").find("a");
  ASSERT_TRUE(match);
  ASSERT_EQ(match->groups.size(), 2u);
  EXPECT_EQ(match->groups[1], std::nullopt);
}

TEST(Pattern, WholeTriesEveryAlternative) {
  EXPECT_TRUE(Pattern("a|ab", {.whole = true}).matches("ab"));
  EXPECT_FALSE(Pattern("a|ab", {.whole = true}).matches("abc"));
  EXPECT_EQ(Pattern(".*", {.whole = true}).count("ab"), 1);
  EXPECT_FALSE(Pattern("a", {.whole = true}).matches("a\n"));  // no leniency at a final line break
}

TEST(Pattern, CountsMatchesAndEmptyOnesOnce) {
  EXPECT_EQ(Pattern("an").count("banana"), 2);
  EXPECT_EQ(Pattern("").count("\u00e4b"), 3);  // before each character and at the end
  EXPECT_EQ(Pattern("x").count(""), 0);
}

TEST(Pattern, KnowsLettersBeyondAscii) {
  EXPECT_TRUE(Pattern("^\\w+$").matches("\u00e4rger\u00df"));
  EXPECT_TRUE(Pattern("\u00c4", {.ignore_case = true}).matches("\u00e4"));
  EXPECT_EQ(Pattern(".").count("\u4f60\u597d"), 2);
}

TEST(Pattern, FindsGroupsByName) {
  const Pattern pattern("(?<item>\\w+) (?<count>\\w+)");
  EXPECT_EQ(pattern.group_named("count"), 2u);
  EXPECT_EQ(pattern.group_named("other"), std::nullopt);
  EXPECT_EQ(pattern.groups(), 2u);
}

TEST(Pattern, SaysWhereItIsWrong) {
  const std::string message = input_error([] { Pattern("ab(c"); });
  EXPECT_NE(message.find("\"ab(c\" is not a regular expression"), std::string::npos) << message;
  EXPECT_NE(message.find("at character 5"), std::string::npos) << message;
}

TEST(Pattern, MatchesLongTexts) {
  // std::regex recurses once a character here.
  const std::string text(1 << 19, 'a');
  EXPECT_TRUE(Pattern("(?:a|b)*", {.whole = true}).matches(text));
}

TEST(Pattern, GivesUpOnExponentialWork) {
  const std::string message = input_error([] { Pattern("(a+)+$").matches(std::string(60, 'a') + "b"); });
  EXPECT_NE(message.find("gave up on a text of 61 bytes"), std::string::npos) << message;
}

}  // namespace
}  // namespace rrhf::reward
