#include "rrhf/data/work_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "rrhf/core/random.h"

namespace rrhf::data {
namespace {

using Items = std::vector<std::size_t>;

TEST(SplitByCost, GivesTheLargestFirstToWhoHasLeast) {
  // 7 -> a; 6 -> b; 5 -> b has 6, a has 7: b (11); 4 -> a (11); 1: tie, the first: a.
  const std::vector<std::int64_t> costs{4, 7, 1, 5, 6};
  EXPECT_EQ(split_by_cost(costs, 2), (std::vector<Items>{{0, 1, 2}, {3, 4}}));
}

TEST(SplitByCost, OneRankHasAllInOrder) {
  EXPECT_EQ(split_by_cost(std::vector<std::int64_t>{1, 9, 5}, 1), (std::vector<Items>{{0, 1, 2}}));
}

TEST(SplitByCost, LeavesRanksWithoutWorkWhereThereIsTooLittle) {
  EXPECT_EQ(split_by_cost(std::vector<std::int64_t>{3}, 3), (std::vector<Items>{{0}, {}, {}}));
  EXPECT_EQ(split_by_cost(std::vector<std::int64_t>{}, 2), (std::vector<Items>{{}, {}}));
}

TEST(SplitByCost, EveryItemOnceAndSumsNearEqual) {
  RandomStream random(5);
  for (std::size_t ranks = 1; ranks <= 7; ++ranks) {
    std::vector<std::int64_t> costs;
    for (int i = 0; i < 61; ++i) costs.push_back(20 + static_cast<std::int64_t>(random.below(200)));
    std::set<std::size_t> seen;
    std::vector<std::int64_t> sums;
    for (const Items& items : split_by_cost(costs, ranks)) {
      sums.push_back(0);
      for (const std::size_t item : items) {
        EXPECT_TRUE(seen.insert(item).second);
        sums.back() += costs[item];
      }
    }
    EXPECT_EQ(seen.size(), costs.size());
    // A rank that got its last item had no more than the others before it.
    EXPECT_LE(std::ranges::max(sums) - std::ranges::min(sums), std::ranges::max(costs));
  }
}

}  // namespace
}  // namespace rrhf::data
