#include "rrhf/train/passes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "rrhf/core/error.h"
#include "tests/train/support.h"

namespace rrhf::train {
namespace {

using testing::query_of;
using testing::set_of;

std::vector<std::int64_t> numbers(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<std::int64_t>(), tensor.const_data_ptr<std::int64_t>() + tensor.numel()};
}

// Queries of 3 + i tokens, i = 0, 1, ...
EncodedSet growing_set(std::int32_t count) {
  std::vector<data::EncodedQuery> queries;
  for (std::int32_t i = 0; i < count; ++i) queries.push_back(query_of(1 + i, {1, 1}));
  return set_of(std::move(queries));
}

TEST(StepPasses, LayOutEachQueryOfTheStepOnce) {
  const EncodedSet set = set_of({query_of(2, {2, 1}), query_of(1, {1}), query_of(3, {2})});
  // Five tokens and two fit into 7; the third has 5.
  StepPasses passes(set, {0, 1}, {.tokens_per_pack = 7}, IdlePasses::first);
  EXPECT_EQ(passes.layout().passes, 1u);
  const auto pass = passes.next();
  ASSERT_TRUE(pass && pass->pack);
  EXPECT_EQ(pass->pack->places, (std::vector<std::size_t>{0, 1}));
  // [1 2 | 3 (4) | (5)] [1 | (2)]: the last token of a response is a label only.
  EXPECT_EQ(numbers(pass->pack->pack.tokens_T), (std::vector<std::int64_t>{1, 2, 3, 1}));
  EXPECT_EQ(numbers(pass->pack->pack.labels_N), (std::vector<std::int64_t>{3, 5, 4, 2}));
  EXPECT_FALSE(passes.next());
}

TEST(StepPasses, AreSharedByWhatTheyTakeNotByTheirLength) {
  // Prompt and answer of 22 tokens together; the logits are of the answers.
  const EncodedSet set = set_of({query_of(20, {2}), query_of(2, {20}), query_of(20, {2}), query_of(2, {20})});
  const auto places_of = [&](std::size_t rank, double label_row_cost) {
    StepPasses passes(set, {0, 1, 2, 3},
                      {.rank = rank, .ranks = 2, .tokens_per_pack = 100, .label_row_cost = label_row_cost},
                      IdlePasses::first);
    return passes.next()->pack->places;
  };
  using Places = std::vector<std::size_t>;
  EXPECT_EQ(places_of(0, 0), (Places{0, 2}));
  EXPECT_EQ(places_of(0, 1), (Places{0, 1}));
  EXPECT_EQ(places_of(1, 1), (Places{2, 3}));
}

TEST(StepPasses, ArePassedAlikeByEveryRank) {
  const EncodedSet set = growing_set(9);
  for (const auto idle : {IdlePasses::first, IdlePasses::last}) {
    std::vector<std::size_t> places;
    std::vector<std::size_t> passes_of;
    for (std::size_t rank = 0; rank < 4; ++rank) {
      std::vector<std::int64_t> queries(9);
      std::iota(queries.begin(), queries.end(), 0);
      StepPasses passes(set, queries, {.rank = rank, .ranks = 4, .tokens_per_pack = 1}, idle);
      std::vector<bool> busy;
      while (const auto pass = passes.next()) {
        busy.push_back(pass->pack.has_value());
        if (pass->pack) places.insert(places.end(), pass->pack->places.begin(), pass->pack->places.end());
      }
      passes_of.push_back(busy.size());
      EXPECT_EQ(busy.size(), passes.layout().passes);
      EXPECT_TRUE(idle == IdlePasses::first ? std::ranges::is_sorted(busy)
                                            : std::ranges::is_sorted(busy, std::greater<>()));
    }
    EXPECT_EQ(passes_of, (std::vector<std::size_t>(4, passes_of[0])));
    std::ranges::sort(places);
    EXPECT_EQ(places, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8}));
  }
}

data::StepPlan plan_of(std::int64_t queries, std::int64_t epochs, std::int64_t per_step) {
  return {{.epochs = epochs, .max_steps = {}, .queries_per_step = per_step, .epoch_end = EpochEnd::step},
          [=](std::int64_t epoch) {
            if (epoch == 7) throw_input("data", "the order of epoch 7 can't be drawn");
            std::vector<std::int64_t> order(static_cast<std::size_t>(queries));
            std::iota(order.begin(), order.end(), 0);
            std::ranges::rotate(order, order.begin() + epoch % queries);
            return order;
          }};
}

TEST(PassesAhead, FollowThePlanFromAnyStepOverTheEndsOfEpochs) {
  const EncodedSet set = growing_set(5);
  for (const std::int64_t first : {0, 3}) {
    data::StepPlan plan = plan_of(5, 3, 2), expected = plan_of(5, 3, 2);
    PassesAhead passes(set, plan, first, {.tokens_per_pack = 1});
    for (std::int64_t k = first; k < expected.steps(); ++k) {
      const std::vector<std::int64_t> queries = expected.queries(k);
      for (std::size_t i = 0; i < queries.size(); ++i) {
        const PreparedPass pass = passes.next();
        EXPECT_EQ(pass.step->queries, queries);
        EXPECT_EQ(pass.step->passes, queries.size()) << "a query is a pack of its own";
        const auto& pack = pass.pack.value();
        const std::int64_t query = queries[pack.places.at(0)];
        EXPECT_EQ(std::ssize(pack.queries.at(0).prompt), query + 1);
      }
    }
    EXPECT_THROW(passes.next(), Error) << "after the last step";
  }
}

TEST(PassesAhead, HandOnWhatFailedWhenItsTurnComes) {
  const EncodedSet set = growing_set(2);
  data::StepPlan plan = plan_of(2, 9, 2);
  PassesAhead passes(set, plan, 0, {.tokens_per_pack = 100});
  for (int epoch = 0; epoch < 7; ++epoch) EXPECT_NO_THROW(passes.next());
  EXPECT_THROW(passes.next(), InputError);
}

TEST(PassesAhead, EndInTheMiddleOfAnEndlessPlan) {
  const EncodedSet set = growing_set(3);
  data::StepPlan plan = plan_of(3, 7, 1);
  PassesAhead passes(set, plan, 0, {.tokens_per_pack = 100});
  passes.next();
}

}  // namespace
}  // namespace rrhf::train
