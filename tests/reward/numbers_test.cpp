#include "rrhf/reward/numbers.h"

#include <gtest/gtest.h>

namespace rrhf::reward {
namespace {

TEST(NumberIn, ReadsDigitsAndWords) {
  EXPECT_EQ(number_in("42"), 42);
  EXPECT_EQ(number_in(" -1,234.5 "), -1234.5);
  EXPECT_EQ(number_in(".5"), 0.5);
  EXPECT_EQ(number_in("Twenty-one"), 21);
  EXPECT_EQ(number_in("ninety nine"), 99);
  EXPECT_EQ(number_in("minus three"), -3);
  EXPECT_EQ(number_in("+7"), 7);
}

TEST(NumberIn, RefusesAllElse) {
  for (const char* text : {"", "four five", "4 apples", "four!", "12,34", "one hundred", "-", "--4", "twenty ten"}) {
    EXPECT_EQ(number_in(text), std::nullopt) << text;
  }
}

TEST(LastNumber, IsTheLastOneSaid) {
  EXPECT_EQ(last_number("3 + 4 makes 7, I think."), 7);
  EXPECT_EQ(last_number("That makes thirteen."), 13);
  EXPECT_EQ(last_number("It is -5"), -5);
  EXPECT_EQ(last_number("9-5"), 5);
  EXPECT_EQ(last_number("1,000,000"), 1000000);
  EXPECT_EQ(last_number("someone else"), std::nullopt);  // "one" within a word is none
}

TEST(ExpressionIn, KnowsWhatBindsTighter) {
  EXPECT_EQ(expression_in("What is 2 + 3 * 4?"), 14);
  EXPECT_EQ(expression_in("(2 + 3) * 4"), 20);
  EXPECT_EQ(expression_in("10 - 4 - 3"), 3);
  EXPECT_EQ(expression_in("12 / 4 / 3"), 1);
  EXPECT_EQ(expression_in("2 - -3"), 5);
}

TEST(ExpressionIn, ReadsWords) {
  EXPECT_EQ(expression_in("What is four plus nine?"), 13);
  EXPECT_EQ(expression_in("Work out twenty-one divided by seven, please."), 3);
  EXPECT_EQ(expression_in("6 x 7"), 42);
  EXPECT_EQ(expression_in("5 \u00d7 5 \u2212 1"), 24);
  EXPECT_EQ(expression_in("eight multiplied by two"), 16);
}

TEST(ExpressionIn, TakesTheLongest) { EXPECT_EQ(expression_in("In 1 + 1 rooms stand 2 * 3 + 4 chairs."), 10); }

TEST(ExpressionIn, IsNothingWithoutAnOperation) {
  for (const char* text : {"", "Name two fruits and one animal.", "7", "1 / 0", "2 +", "one and two"}) {
    EXPECT_EQ(expression_in(text), std::nullopt) << text;
  }
}

TEST(ExpressionIn, StandsAnyDepthAndLength) {
  EXPECT_EQ(expression_in(std::string(100000, '(')), std::nullopt);
  EXPECT_EQ(expression_in(std::string(100000, '-')), std::nullopt);
  std::string sum = "0";
  for (int i = 0; i < 20000; ++i) sum += "+1";
  EXPECT_EQ(expression_in(sum), 20000);
}

}  // namespace
}  // namespace rrhf::reward
