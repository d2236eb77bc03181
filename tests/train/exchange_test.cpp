// Figures of several ranks, as forked processes.
#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/train/groups.h"
#include "rrhf/train/step_work.h"
#include "rrhf/train/totals.h"
#include "tests/distributed/support.h"

namespace rrhf::train {
namespace {

using rrhf::testing::expect_ranks;
using rrhf::testing::require;

TEST(Exchange, EveryRankHasTheFiguresOfAllQueries) {
  expect_ranks(3, [](const distributed::World& world) {
    // Query q is computed by rank q % 3. 1/3 and 1e-30 survive only if nothing is rounded.
    std::vector<Totals> by_query(7);
    for (std::size_t q = static_cast<std::size_t>(world.rank()); q < by_query.size(); q += 3) {
      by_query[q].queries = 1;
      by_query[q].tokens = 1000 + static_cast<std::int64_t>(q);
      by_query[q].loss = 1.0 / 3 + static_cast<double>(q);
      by_query[q].ranking = {.pairs = 3, .ordered = 2, .margin = 1e-30};
      by_query[q].best_labels = 5;
    }
    exchange(by_query, world, at::kCPU);
    for (std::size_t q = 0; q < by_query.size(); ++q) {
      require(by_query[q].tokens == 1000 + static_cast<std::int64_t>(q), "tokens");
      require(by_query[q].loss == 1.0 / 3 + static_cast<double>(q), "loss");
      require(by_query[q].ranking.margin == 1e-30, "margin");
    }
    const Totals sum = sum_of(by_query);
    require(sum.queries == 7 && sum.tokens == 7021 && sum.best_labels == 35, "sums");
    require(sum.ranking.pairs == 21 && sum.ranking.ordered == 14, "pairs");
  });
}

TEST(Exchange, TellsHowTheRanksFared) {
  expect_ranks(2, [](const distributed::World& world) {
    StepWork work;
    work.times.start();
    work.tokens = world.rank() == 0 ? 300 : 100;
    // Nobody waited: 4 s were busy on rank 0 and 2 s on rank 1, 3 s on average.
    const RankWork ranks = exchange_work(work, world.rank() == 0 ? 4 : 2, world, at::kCPU);
    require(ranks.tokens_per_second == std::vector<double>{75, 50}, "tokens a second");
    require(ranks.communication_share == 0, "waiting");
    require(std::abs(ranks.imbalance - 1.0 / 3) < 1e-12, "imbalance");
    require(ranks.peak_memory.size() == 2 && ranks.peak_memory[1] > 1e6, "memory");
  });
}

TEST(Groups, CutTheRanksIntoNeighboursAndRepetitions) {
  expect_ranks(4, [](const distributed::World& world) {
    const Groups hybrid = make_groups({.mode = ParallelMode::sharded, .shard_size = 2}, world);
    require(hybrid.shards.size() == 2 && hybrid.shards.rank() == world.rank() % 2, "shards of a copy");
    require(hybrid.copies.size() == 2 && hybrid.copies.rank() == world.rank() / 2, "copies of a shard");
    const Groups replicated = make_groups({.mode = ParallelMode::replicated, .shard_size = {}}, world);
    require(replicated.shards.size() == 1 && replicated.copies.size() == 4, "replicated");
    const Groups sharded = make_groups({.mode = ParallelMode::sharded, .shard_size = {}}, world);
    require(sharded.shards.size() == 4 && sharded.copies.size() == 1, "sharded");
    const Groups all = make_groups({.mode = ParallelMode::sharded, .shard_size = 8}, world);
    require(all.shards.size() == 4 && all.copies.size() == 1, "more than there are");
    try {
      make_groups({.mode = ParallelMode::sharded, .shard_size = 3}, world);
      require(false, "3 does not divide 4");
    } catch (const InputError& refusal) {
      require(std::string(refusal.what()).find("parallel.shard_size 3 does not divide 4 ranks") != std::string::npos,
              refusal.what());
    }
  });
}

}  // namespace
}  // namespace rrhf::train
