#include "rrhf/objective/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "rrhf/core/error.h"

namespace rrhf::objective {
namespace {

struct Loss {
  double value;
  std::vector<double> gradient;
};

Loss rrhf_loss(const std::vector<double>& scores, const std::vector<double>& rewards) {
  Loss loss{0, std::vector<double>(scores.size(), 99.0)};
  loss.value = RrhfRankLoss().evaluate(scores, rewards, loss.gradient);
  return loss;
}

TEST(RrhfRankLoss, ChargesOnlyDiscordantPairs) {
  // rewards 3 > 2 > 1; only responses 1 and 2 are ordered wrongly: -0.5 - (-0.8) = 0.3
  const Loss loss = rrhf_loss({-0.2, -0.8, -0.5}, {3, 2, 1});
  EXPECT_NEAR(loss.value, 0.3, 1e-12);
  EXPECT_EQ(loss.gradient, (std::vector<double>{0, -1, 1}));
}

TEST(RrhfRankLoss, SumsOverAllPairsOfAReversedRow) {
  // scores -1 > -2 > -4 against rewards 1 < 2 < 3: (1) + (3) + (2) = 6; the worst is charged twice
  const Loss loss = rrhf_loss({-1, -2, -4}, {1, 2, 3});
  EXPECT_NEAR(loss.value, 6, 1e-12);
  EXPECT_EQ(loss.gradient, (std::vector<double>{2, 0, -2}));
}

TEST(RrhfRankLoss, EqualRewardsGiveNoPair) {
  const Loss loss = rrhf_loss({-1, -5}, {2, 2});
  EXPECT_EQ(loss.value, 0);
  EXPECT_EQ(loss.gradient, (std::vector<double>{0, 0}));
}

TEST(RrhfRankLoss, HasNoSlopeAtEqualScores) {
  EXPECT_EQ(rrhf_loss({-1, -1}, {1, 2}).gradient, (std::vector<double>{0, 0}));
}

TEST(RankLossNames, AreThoseThatCanBeMade) {
  EXPECT_NE(make_rank_loss("rrhf"), nullptr);
  EXPECT_EQ(make_rank_loss("none"), nullptr);
  try {
    make_rank_loss("dpo");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("dpo is not a rank loss; known: rrhf, none"), std::string::npos)
        << error.what();
  }
}

// Two responses of 4 and 2 labels: s = (-8, -2), rewards (5, 1), longest prompt + response 10.
QueryLoss evaluate(const ObjectiveOptions& options) {
  const std::vector<double> logprobs{-8, -2}, rewards{5, 1};
  const std::vector<std::int64_t> counts{4, 2};
  return Objective(options).evaluate(
      {.logprobs_K = logprobs, .label_counts_K = counts, .rewards_K = rewards, .padded_length = 10});
}

TEST(Objective, DefaultRecipeDividesByTheResponsesOwnLabels) {
  // p = (-2, -1): discordant by 1. SFT on the first: 8 / 4 = 2.
  const QueryLoss loss = evaluate({});
  EXPECT_EQ(loss.scores_K, (std::vector<double>{-2, -1}));
  EXPECT_NEAR(loss.rank_loss, 1, 1e-12);
  EXPECT_NEAR(loss.sft_loss, 2, 1e-12);
  EXPECT_NEAR(loss.loss, 3, 1e-12);
  EXPECT_EQ(loss.best, 0u);
  // d/ds: rank (-1/4, +1/2), SFT (-1/4, 0)
  EXPECT_EQ(loss.coefficients_K, (std::vector<double>{-0.5, 0.5}));
  EXPECT_EQ(loss.ranking.pairs, 1);
  EXPECT_EQ(loss.ranking.ordered, 0);
  EXPECT_NEAR(loss.ranking.margin, -1, 1e-12);
}

TEST(Objective, ReleasedRecipeDividesByThePaddedLength) {
  // p = (-0.8, -0.2): 0.6. SFT 8 / 10.
  const QueryLoss loss = evaluate({.normalization = Normalization::padded, .sft_reduction = SftReduction::padded});
  EXPECT_NEAR(loss.rank_loss, 0.6, 1e-12);
  EXPECT_NEAR(loss.sft_loss, 0.8, 1e-12);
}

TEST(Objective, PaperRecipeSumsTheSftPart) {
  EXPECT_NEAR(evaluate({.sft_reduction = SftReduction::sum}).sft_loss, 8, 1e-12);
}

TEST(Objective, WithoutNormalizationScoresAreSums) {
  // p = (-8, -2): discordant by 6
  EXPECT_NEAR(evaluate({.normalization = Normalization::none}).rank_loss, 6, 1e-12);
}

TEST(Objective, LengthPenaltyIsAnExponentOfTheScoresLengthOnly) {
  // p = (-8 / 4^0.5, -2 / 2^0.5) = (-4, -1.41421356): rank 2.58578644; SFT still 8 / 4
  const QueryLoss loss = evaluate({.length_penalty = 0.5});
  EXPECT_NEAR(loss.rank_loss, 4 - std::sqrt(2.0), 1e-12);
  EXPECT_NEAR(loss.sft_loss, 2, 1e-12);
}

TEST(Objective, WeightsApplyToTheLossAndItsCoefficientsAlone) {
  const QueryLoss loss = evaluate({.rank_weight = 10, .sft_weight = 0.5});
  EXPECT_NEAR(loss.rank_loss, 1, 1e-12);
  EXPECT_NEAR(loss.loss, 11, 1e-12);
  // rank 10 * (-1/4, 1/2), SFT 0.5 * (-1/4, 0)
  EXPECT_NEAR(loss.coefficients_K[0], -2.625, 1e-12);
  EXPECT_NEAR(loss.coefficients_K[1], 5, 1e-12);
}

TEST(Objective, WithoutRankLossIsSftOnTheFirstBest) {
  const std::vector<double> logprobs{-3, -6, -9}, rewards{1, 7, 7};
  const std::vector<std::int64_t> counts{1, 2, 3};
  const QueryLoss loss = Objective({.rank_loss = "none"})
                             .evaluate({.logprobs_K = logprobs, .label_counts_K = counts, .rewards_K = rewards});
  EXPECT_EQ(loss.best, 1u);
  EXPECT_EQ(loss.rank_loss, 0);
  EXPECT_EQ(loss.coefficients_K, (std::vector<double>{0, -0.5, 0}));
  EXPECT_EQ(loss.ranking.pairs, 2);  // the figure is still counted
}

TEST(Objective, CoefficientsAreTheSlopesOfTheLoss) {
  const std::vector<double> rewards{0.3, 2, -1, 2, 0.5};
  const std::vector<std::int64_t> counts{3, 7, 2, 5, 9};
  for (const auto normalization : {Normalization::response, Normalization::padded, Normalization::none}) {
    const Objective objective(
        {.rank_weight = 1.7, .sft_weight = 0.6, .normalization = normalization, .length_penalty = 0.8});
    std::vector<double> s{-4.1, -9.3, -1.2, -8.8, -7.7};
    const auto at = [&](const std::vector<double>& logprobs) {
      return objective.evaluate(
          {.logprobs_K = logprobs, .label_counts_K = counts, .rewards_K = rewards, .padded_length = 21});
    };
    const QueryLoss loss = at(s);
    for (std::size_t i = 0; i < s.size(); ++i) {
      constexpr double h = 1e-6;
      std::vector<double> up = s, down = s;
      up[i] += h;
      down[i] -= h;
      EXPECT_NEAR(loss.coefficients_K[i], (at(up).loss - at(down).loss) / (2 * h), 1e-8) << i;
    }
  }
}

TEST(Objective, RefusesSpansOfDifferentLength) {
  const std::vector<double> logprobs{-1, -2}, rewards{1};
  const std::vector<std::int64_t> counts{1, 1};
  EXPECT_THROW(Objective({}).evaluate({.logprobs_K = logprobs, .label_counts_K = counts, .rewards_K = rewards}), Error);
}

}  // namespace
}  // namespace rrhf::objective
