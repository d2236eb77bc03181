#include "rrhf/generate/sampler.h"

#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/core/error.h"

namespace rrhf::generate {
namespace {

template <class T>
std::vector<T> logs(std::initializer_list<double> probabilities) {
  std::vector<T> logits;
  for (const double p : probabilities) logits.push_back(static_cast<T>(std::log(p) + 3));  // a shift changes nothing
  return logits;
}

template <class T>
Candidates of(std::initializer_list<double> probabilities, const DecodingOptions& options) {
  const std::vector<T> logits = logs<T>(probabilities);
  return candidates(std::span<const T>(logits), options);
}

void expect_candidates(const Candidates& got, std::vector<std::int32_t> ids, std::vector<double> probabilities) {
  EXPECT_EQ(got.ids, ids);
  ASSERT_EQ(got.probabilities.size(), probabilities.size());
  for (std::size_t i = 0; i < probabilities.size(); ++i) EXPECT_NEAR(got.probabilities[i], probabilities[i], 1e-6) << i;
}

TEST(Candidates, AllWithoutFilters) {
  expect_candidates(of<float>({0.5, 0.25, 0.15, 0.1}, {}), {0, 1, 2, 3}, {0.5, 0.25, 0.15, 0.1});
}

TEST(Candidates, TemperatureRaisesToItsInverse) {
  // Squares: 0.25, 0.0625, 0.0225, 0.01; their sum is 0.345.
  expect_candidates(of<double>({0.5, 0.25, 0.15, 0.1}, {.temperature = 0.5}), {0, 1, 2, 3},
                    {0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345});
}

TEST(Candidates, TopKKeepsTheLikeliestAndTheirEquals) {
  expect_candidates(of<float>({0.1, 0.25, 0.15, 0.5}, {.top_k = 2}), {1, 3}, {1.0 / 3, 2.0 / 3});
  expect_candidates(of<float>({0.25, 0.3, 0.25, 0.2}, {.top_k = 2}), {0, 1, 2}, {0.25 / 0.8, 0.3 / 0.8, 0.25 / 0.8});
  EXPECT_EQ(of<float>({0.25, 0.3, 0.25, 0.2}, {.top_k = 9}).ids.size(), 4u);
}

TEST(Candidates, TopPKeepsTheFewestThatReachIt) {
  const auto p = {0.15, 0.5, 0.1, 0.25};
  expect_candidates(of<float>(p, {.top_p = 0.45}), {1}, {1});                   // 0.5 reaches it
  expect_candidates(of<float>(p, {.top_p = 0.6}), {1, 3}, {2.0 / 3, 1.0 / 3});  // 0.5 does not, 0.75 does
  expect_candidates(of<double>(p, {.top_p = 0.8}), {0, 1, 3}, {0.15 / 0.9, 0.5 / 0.9, 0.25 / 0.9});
  expect_candidates(of<float>(p, {.top_p = 1e-9}), {1}, {1});  // one stays whatever is asked
}

TEST(Candidates, TopPFindsWhatItNeedsAmongVeryUnequalOnes) {
  // The first two sum to 0.9; the third is less than a 64th of the first.
  expect_candidates(of<double>({0.8, 0.1, 0.0101, 0.0899}, {.top_p = 0.995}), {0, 1, 2, 3}, {0.8, 0.1, 0.0101, 0.0899});
}

TEST(Candidates, TopPCountsFromWhatTopKLeft) {
  // Of the three likeliest (sum 0.9) the first has 0.5556, the first two 0.8333.
  expect_candidates(of<float>({0.5, 0.25, 0.15, 0.1}, {.top_k = 3, .top_p = 0.52}), {0}, {1});
  expect_candidates(of<float>({0.5, 0.25, 0.15, 0.1}, {.top_k = 3, .top_p = 0.6}), {0, 1}, {2.0 / 3, 1.0 / 3});
}

TEST(Repetition, DividesWhatIsPositiveAndMultipliesTheRestOnce) {
  std::vector<double> logits{2, -2, 3, -1};
  const std::vector<std::int32_t> seen{0, 1, 1, 0};
  penalize_repetition<double>(logits, seen, 2);
  EXPECT_EQ(logits, (std::vector<double>{1, -4, 3, -1}));
}

TEST(Likeliest, IsTheFirstOfEquals) {
  const std::vector<float> logits{1, 4, 4, 2};
  EXPECT_EQ(likeliest(std::span<const float>(logits)), 1);
}

TEST(LogNormalizer, IsTheLogOfTheSum) {
  const std::vector<double> logits{std::log(2.0), std::log(5.0), std::log(3.0)};
  EXPECT_NEAR(log_normalizer(std::span<const double>(logits)), std::log(10.0), 1e-14);
}

TEST(LogNormalizer, RefusesWhatIsNotFinite) {
  for (const float broken : {std::nanf(""), HUGE_VALF}) {
    const std::vector<float> row{1, broken, 2};
    EXPECT_THROW(log_normalizer(std::span<const float>(row)), Error);
  }
  const std::vector<float> closed{1, -HUGE_VALF, 2};
  EXPECT_NO_THROW(log_normalizer(std::span<const float>(closed)));
}

TEST(Candidates, TheSmallestTemperatureLeavesTheLikeliest) {
  const std::vector<float> row{90, 100, -100};
  const Candidates found = candidates(std::span<const float>(row), {.temperature = 1e-6, .top_p = 0.95});
  EXPECT_EQ(found.ids, (std::vector<std::int32_t>{1}));
}

TEST(Draw, FollowsTheStreamOverTheCumulatedProbabilities) {
  const Candidates three{{5, 7, 9}, {0.25, 0.0, 0.75}};
  RandomStream stream(3), same(3);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(draw(three, stream), same.uniform() < 0.25 ? 5 : 9);
}

TEST(Draw, NeverTakesWhatCannotBe) {
  const Candidates rounded{{5, 7, 9}, {0.3, 0.6999, 0.0}};  // a little is left over
  RandomStream stream(3);
  for (int i = 0; i < 20000; ++i) EXPECT_NE(draw(rounded, stream), 9);
}

}  // namespace
}  // namespace rrhf::generate
