#include "rrhf/core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

namespace rrhf {
namespace {

std::vector<std::uint64_t> first(RandomStream stream, int count) {
  std::vector<std::uint64_t> values;
  for (int i = 0; i < count; ++i) values.push_back(stream.next());
  return values;
}

TEST(RandomStream, IsKeyedByAllItsKeysInOrder) {
  EXPECT_EQ(first(RandomStream(42, {1, 2}), 8), first(RandomStream(42, {1, 2}), 8));
  std::set<std::uint64_t> firsts;
  for (std::uint64_t seed : {0, 1, 42}) {
    firsts.insert(RandomStream(seed).next());
    for (std::uint64_t a = 0; a < 20; ++a) {
      firsts.insert(RandomStream(seed, {a}).next());
      for (std::uint64_t b = 0; b < 20; ++b) firsts.insert(RandomStream(seed, {a, b}).next());
    }
  }
  EXPECT_EQ(firsts.size(), 3u * (1 + 20 + 400));  // {1, 2} is not {2, 1}, {0} is not {}
}

TEST(RandomStream, UniformFillsTheUnitInterval) {
  RandomStream stream(7);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double value = stream.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.015);  // five standard errors: 5 * sqrt(1/12) / 100
}

TEST(RandomStream, BelowReachesEveryValueAndNoOther) {
  RandomStream stream(7);
  std::array<int, 6> counts{};
  for (int i = 0; i < 60'000; ++i) ++counts.at(stream.below(6));
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 460);  // five standard deviations: 5 * sqrt(60000 * 5 / 36)
  EXPECT_EQ(stream.below(1), 0u);
  for (int i = 0; i < 100; ++i) EXPECT_LT(stream.below((std::uint64_t{1} << 63) + 1), (std::uint64_t{1} << 63) + 1);
}

TEST(Permutation, HoldsEachIndexOnce) {
  for (const std::int64_t count : {0, 1, 2, 1000}) {
    auto order = permutation(count, RandomStream(1));
    std::vector<std::int64_t> expected(static_cast<std::size_t>(count));
    std::iota(expected.begin(), expected.end(), 0);
    std::ranges::sort(order);
    EXPECT_EQ(order, expected);
  }
  EXPECT_FALSE(std::ranges::is_sorted(permutation(1000, RandomStream(1))));
  EXPECT_EQ(permutation(100, RandomStream(1, {3})), permutation(100, RandomStream(1, {3})));
  EXPECT_NE(permutation(100, RandomStream(1, {3})), permutation(100, RandomStream(1, {4})));
}

TEST(Permutation, ReachesEveryOrder) {
  std::set<std::vector<std::int64_t>> orders;
  for (std::uint64_t key = 0; key < 400; ++key) orders.insert(permutation(4, RandomStream(1, {key})));
  EXPECT_EQ(orders.size(), 24u);
}

}  // namespace
}  // namespace rrhf
