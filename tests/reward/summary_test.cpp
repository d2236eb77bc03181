#include "rrhf/reward/summary.h"

#include <cmath>

#include "support.h"

namespace rrhf::reward {
namespace {

Row row_with(std::vector<std::optional<double>> before, std::string group = "") {
  Row row = testing::make_row("q", std::vector<std::string>(before.size(), "r"));
  row.before = std::move(before);
  row.group = std::move(group);
  return row;
}

TEST(ScoreTotals, CountPairsThatKeepTheirOrder) {
  ScoreTotals totals;
  // before 3 > 2 > 1; now 5, 5, 7: (0,1) is a tie, (0,2) and (1,2) are turned round
  totals.add(row_with({3, 2, 1}), {5, 5, 7});
  EXPECT_EQ(totals.pairs, 3);
  EXPECT_EQ(totals.agreeing, 0);
  EXPECT_EQ(totals.ties, 1);
  // before: one tie, no pair of it; 1 < 2 twice, kept once
  totals.add(row_with({1, 1, 2}), {0, 9, 3});
  EXPECT_EQ(totals.pairs, 5);
  EXPECT_EQ(totals.agreeing, 1);
  EXPECT_DOUBLE_EQ(totals.agreement(), 0.2);
}

TEST(ScoreTotals, LeaveOutWhatHasNoScoreOnEitherSide) {
  ScoreTotals totals;
  totals.add(row_with({1, std::nullopt, 3}), {1, 2, std::nullopt});
  EXPECT_EQ(totals.pairs, 0);
  EXPECT_TRUE(std::isnan(totals.agreement()));
  EXPECT_EQ(totals.responses, 2);
  totals.add(row_with({1}), {std::nullopt});
  EXPECT_EQ(totals.rows, 1);
}

TEST(ScoreTotals, HaveMeansOverResponsesAndOverBestOnes) {
  ScoreTotals totals;
  totals.add(row_with({std::nullopt, std::nullopt}), {-1, 3});
  totals.add(row_with({std::nullopt}), {-5});
  EXPECT_EQ(totals.mean(), -1);
  EXPECT_EQ(totals.mean_best(), -1);  // (3 - 5) / 2
  EXPECT_DOUBLE_EQ(totals.deviation(), std::sqrt((0 + 16 + 16) / 3.0));
  EXPECT_EQ(totals.least, -5);
  EXPECT_EQ(totals.most, 3);
}

TEST(ScoreTotals, TellLargeScoresApart) {
  ScoreTotals totals;
  totals.add(row_with({std::nullopt, std::nullopt, std::nullopt, std::nullopt}),
             {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16});
  EXPECT_DOUBLE_EQ(totals.deviation(), std::sqrt(22.5));  // distances from the mean: -6, -3, 3, 6
}

TEST(ScoreSummary, HasALineAGroup) {
  ScoreSummary summary;
  summary.add(row_with({1, 2}, "sums"), {1, 2});
  summary.add(row_with({1, 2}), {2, 1});
  EXPECT_EQ(summary.groups.size(), 1u);
  const Json json = to_json(summary);
  EXPECT_EQ(json["pair_accuracy"], 0.5);
  EXPECT_EQ(json["groups"]["sums"]["pair_accuracy"], 1.0);
}

TEST(ScoreSummary, SaysNothingOfPairsThatAreNotThere) {
  ScoreSummary summary;
  summary.add(row_with({std::nullopt}), {4});
  EXPECT_TRUE(to_json(summary)["pair_accuracy"].is_null());
}

}  // namespace
}  // namespace rrhf::reward
