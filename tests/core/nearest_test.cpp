#include "rrhf/core/nearest.h"

#include <gtest/gtest.h>

#include <array>

namespace rrhf {
namespace {

TEST(NearestWord, TakesTheFewestChanges) {
  constexpr std::array<std::string_view, 3> words{"length", "regex", "repetition"};
  EXPECT_EQ(nearest_word("lenght", words), "length");
  EXPECT_EQ(nearest_word("repetitions", words), "repetition");
  EXPECT_EQ(nearest_word("", words), "regex");  // the shortest
}

TEST(NearestWord, TakesTheFirstOfEquallyNearOnes) {
  constexpr std::array<std::string_view, 2> words{"min", "max"};
  EXPECT_EQ(nearest_word("mxn", words), "min");  // one letter from min, two from max
  EXPECT_EQ(nearest_word("m", words), "min");
}

}  // namespace
}  // namespace rrhf
