#include "rrhf/data/step_plan.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "rrhf/data/packing.h"

namespace rrhf::data {
namespace {

using Indices = std::vector<std::int64_t>;

// Epoch e of `count` queries: 100 * e, 100 * e + 1, ... so that a query tells its epoch.
EpochOrder numbered(std::int64_t count) {
  return [count](std::int64_t epoch) {
    Indices order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 100 * epoch);
    return order;
  };
}

TEST(StepPlan, EndsAnEpochWithASmallerStep) {
  StepPlan plan({.epochs = 2, .queries_per_step = 3}, numbered(5));
  EXPECT_EQ(plan.steps(), 4);
  EXPECT_EQ(plan.queries(0), (Indices{0, 1, 2}));
  EXPECT_EQ(plan.queries(1), (Indices{3, 4}));
  EXPECT_EQ(plan.queries(3), (Indices{103, 104}));
  EXPECT_DOUBLE_EQ(plan.epochs_after(0), 0.6);
  EXPECT_DOUBLE_EQ(plan.epochs_after(3), 2);
}

TEST(StepPlan, CarriesWhatIsLeftIntoTheNextEpoch) {
  // floor(5 / 3) = 1 step an epoch, three of them
  StepPlan plan({.epochs = 3, .queries_per_step = 3, .epoch_end = EpochEnd::carry}, numbered(5));
  EXPECT_EQ(plan.steps(), 3);
  EXPECT_EQ(plan.queries(1), (Indices{3, 4, 100}));
  EXPECT_EQ(plan.queries(2), (Indices{101, 102, 103}));
  EXPECT_DOUBLE_EQ(plan.epochs_after(1), 1.2);
}

TEST(StepPlan, AShortEpochIsAStepOfItsOwn) {
  StepPlan plan({.epochs = 3, .queries_per_step = 64, .epoch_end = EpochEnd::carry}, numbered(5));
  EXPECT_EQ(plan.steps(), 3);
  EXPECT_EQ(plan.queries(2).size(), 5u);
}

TEST(StepPlan, StopsAtMaxSteps) {
  EXPECT_EQ(StepPlan({.epochs = 3, .max_steps = 4, .queries_per_step = 1}, numbered(5)).steps(), 4);
  EXPECT_EQ(StepPlan({.epochs = 1, .max_steps = 40, .queries_per_step = 1}, numbered(5)).steps(), 5);
}

TEST(StepPlan, DoesNotOverflow) {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(StepPlan({.epochs = most / 2 + 1, .queries_per_step = 1}, numbered(5)).steps(), most);
  EXPECT_EQ(StepPlan({.epochs = most / 2 + 1, .max_steps = 7, .queries_per_step = 1}, numbered(5)).steps(), 7);
  for (const EpochEnd end : {EpochEnd::step, EpochEnd::carry}) {
    StepPlan whole({.epochs = 2, .queries_per_step = most, .epoch_end = end}, numbered(5));
    EXPECT_EQ(whole.steps(), 2);
    EXPECT_EQ(whole.queries(1).size(), 5u);
    EXPECT_DOUBLE_EQ(whole.epochs_after(0), 1);
  }
}

TEST(StepPlan, GivesAnyStepInAnyOrder) {
  StepPlan forward({.epochs = 4, .queries_per_step = 3}, numbered(7)), backward = forward;
  std::vector<Indices> steps;
  for (std::int64_t k = 0; k < forward.steps(); ++k) steps.push_back(forward.queries(k));
  for (std::int64_t k = backward.steps(); k-- > 0;) EXPECT_EQ(backward.queries(k), steps[static_cast<std::size_t>(k)]);
}

TEST(PaddedToMultiple, RepeatsFromTheStart) {
  EXPECT_EQ(padded_to_multiple({4, 2, 9}, 8), (Indices{4, 2, 9, 4, 2, 9, 4, 2}));
  EXPECT_EQ(padded_to_multiple({1, 2}, 2), (Indices{1, 2}));
}

TEST(PackByTokens, FillsFirstFitLargestFirst) {
  // 7 alone, then 5 + 4, then 3 beside 7
  using Packs = std::vector<std::vector<std::size_t>>;
  EXPECT_EQ(pack_by_tokens(Indices{3, 5, 7, 4}, 10), (Packs{{0, 2}, {1, 3}}));
  EXPECT_EQ(pack_by_tokens(Indices{30, 1}, 10), (Packs{{0}, {1}}));
  EXPECT_EQ(pack_by_tokens(Indices{}, 10), Packs{});
  EXPECT_EQ(pack_by_tokens(Indices{2, 2, 2}, 1), (Packs{{0}, {1}, {2}}));
}

}  // namespace
}  // namespace rrhf::data
