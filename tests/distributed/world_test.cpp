// Collectives between processes. Expected values are whole numbers worked out by hand, which every dtype holds exactly.
#include "rrhf/distributed/world.h"

#include <ATen/ATen.h>

#include <csignal>

#include "support.h"

namespace rrhf::distributed {
namespace {

using testing::expect_ranks;
using testing::require;

class Collectives : public ::testing::TestWithParam<std::tuple<int, at::ScalarType>> {
 protected:
  static int size() { return std::get<0>(GetParam()); }
  static at::ScalarType dtype() { return std::get<1>(GetParam()); }

  static at::Tensor numbers(std::vector<double> values) { return at::tensor(values, at::kDouble).to(dtype()); }
};

std::string name_of_case(const ::testing::TestParamInfo<Collectives::ParamType>& info) {
  return fmt::format("{}ranks{}", std::get<0>(info.param), c10::toString(std::get<1>(info.param)));
}

INSTANTIATE_TEST_SUITE_P(World, Collectives,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4),
                                            ::testing::Values(at::kDouble, at::kFloat, at::kBFloat16)),
                         name_of_case);

TEST_P(Collectives, AllReduceSumsInPlace) {
  expect_ranks(size(), [](const World& world) {
    const int n = world.size();
    // Rank r holds [r, 10]; the ranks add up to n (n - 1) / 2.
    at::Tensor tensor = numbers({1.0 * world.rank(), 10});
    world.all_reduce(tensor).wait();
    require(at::equal(tensor, numbers({n * (n - 1) / 2.0, 10.0 * n})), "sum");
  });
}

TEST_P(Collectives, AllGatherPutsThePartsInOrderOfRank) {
  expect_ranks(size(), [](const World& world) {
    std::vector<double> expected;
    for (int rank = 0; rank < world.size(); ++rank) expected.insert(expected.end(), {1.0 * rank, 100.0 + rank});
    const double rank = world.rank();
    at::Tensor whole = numbers(std::vector<double>(expected.size(), -1));
    world.all_gather(whole, numbers({rank, 100 + rank})).wait();
    require(at::equal(whole, numbers(expected)), "gathered");
    // The part may lie in the whole.
    at::Tensor own = numbers(std::vector<double>(expected.size(), -1));
    const at::Tensor slice = own.narrow(0, 2 * world.rank(), 2);
    slice.copy_(numbers({rank, 100 + rank}));
    world.all_gather(own, slice).wait();
    require(at::equal(own, numbers(expected)), "gathered in place");
  });
}

TEST_P(Collectives, LargePartsAreGatheredAlike) {
  expect_ranks(size(), [](const World& world) {
    constexpr std::int64_t length = 300'000;  // together more than a megabyte in any dtype
    const at::Tensor part = at::full({length}, world.rank(), at::TensorOptions(dtype()));
    at::Tensor apart = at::full({world.size() * length}, -1, part.options()), own = apart.clone();
    at::Tensor slice = own.narrow(0, world.rank() * length, length);
    slice.copy_(part);
    world.all_gather(apart, part).wait();
    world.all_gather(own, slice).wait();
    const at::Tensor expected = at::arange(world.size()).to(dtype()).repeat_interleave(length);
    require(at::equal(apart, expected) && at::equal(own, expected), "parts in order of rank");
  });
}

TEST_P(Collectives, ReduceScatterGivesEachRankItsSliceOfTheSum) {
  expect_ranks(size(), [](const World& world) {
    const int n = world.size();
    // Every rank holds [0, 1, 2, ...] plus its own number: element i adds up to n i + n (n - 1) / 2.
    std::vector<double> values;
    for (int i = 0; i < 3 * n; ++i) values.push_back(i + world.rank());
    at::Tensor part = numbers({-1, -1, -1});
    world.reduce_scatter(part, numbers(values)).wait();
    std::vector<double> expected;
    for (int i = 3 * world.rank(); i < 3 * world.rank() + 3; ++i) expected.push_back(n * i + n * (n - 1) / 2.0);
    require(at::equal(part, numbers(expected)), "slice of the sum");
  });
}

TEST_P(Collectives, BroadcastCopiesFromTheRankNamed) {
  expect_ranks(size(), [](const World& world) {
    const int from = world.size() - 1;
    at::Tensor tensor = numbers({10.0 * world.rank(), 7});
    world.broadcast(tensor, from).wait();
    require(at::equal(tensor, numbers({10.0 * from, 7})), "copied");
  });
}

TEST(World, SeveralCollectivesAreUnderWayAtOnce) {
  expect_ranks(3, [](const World& world) {
    std::vector<at::Tensor> tensors;
    std::vector<Pending> pending;
    for (int i = 0; i < 20; ++i) tensors.push_back(at::full({1000}, i + world.rank(), at::kFloat));
    for (at::Tensor& tensor : tensors) pending.push_back(world.all_reduce(tensor));
    for (Pending& each : pending) each.wait();
    for (int i = 0; i < 20; ++i) require(at::equal(tensors[i], at::full({1000}, 3 * i + 3, at::kFloat)), "sum");
  });
}

TEST(World, OneProcessIsAWorldWithoutAGroup) {
  const World world;
  EXPECT_EQ(world.rank(), 0);
  EXPECT_EQ(world.size(), 1);
  EXPECT_TRUE(world.any(true));
  EXPECT_FALSE(world.any(false));
  EXPECT_EQ(world.gather_words("here"), std::vector<std::string>{"here"});
  EXPECT_EQ(world.split(3).size(), 1);
  world.barrier();
  world.require_same("config", "text");
}

TEST(World, OneProcessWithoutAGpuHasNoGroupWhateverItAsksFor) {
  const World world = join({}, {.backend = BackendChoice::nccl});
  EXPECT_EQ(world.size(), 1);
  EXPECT_TRUE(world.any(true));
}

TEST(World, OneProcessThatAsksForNcclSendsThroughIt) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  const at::Device device(at::kCUDA, 0);
  const World world = join({}, {.device = device, .backend = BackendChoice::nccl});
  const World part = world.split(3);
  for (const World* each : {&world, &part}) {
    at::Tensor tensor = at::full({4}, 3, at::TensorOptions(at::kFloat).device(device));
    at::Tensor other = at::zeros_like(tensor);
    each->all_reduce(tensor).wait();
    each->broadcast(tensor, 0).wait();
    each->all_gather(other, tensor).wait();
    each->reduce_scatter(tensor, other).wait();
    EXPECT_EQ(tensor.cpu().sum().item<float>(), 12);
    EXPECT_TRUE(each->any(true));
    EXPECT_EQ(each->gather_words("here"), std::vector<std::string>{"here"});
  }
}

TEST(World, RanksThatWouldConnectByOtherMeansAreNamedBeforeTheyDo) {
  const auto codes = testing::run_ranks(3, [](const Meeting& meeting) {
    try {
      join(meeting, {.timeout = std::chrono::seconds(meeting.place.rank == 1 ? 31 : 30)});
    } catch (const AgreedError& failure) {
      require(failure.what() ==
                  std::string("[distributed] rank 1 on box1 would connect by other means than rank 0 on box0:\n"
                              "  parallel.timeout_s: 31   (rank 0: parallel.timeout_s: 30)"),
              failure.what());
      return;
    }
    throw std::runtime_error("not refused");
  });
  EXPECT_EQ(codes, std::vector<int>(3, 0));
}

TEST(World, ARankOutlivesAWriteToADeadOne) {
  expect_ranks(2, [](const World&) { std::raise(SIGPIPE); });
}

TEST(World, WordsOfAnyLengthComeInOrderOfRank) {
  expect_ranks(3, [](const World& world) {
    const std::vector<std::string> words{"", std::string("a\0b", 3), std::string(100'000, 'x')};
    require(world.gather_words(words[world.rank()]) == words, "words");
    require(world.gather_words("") == std::vector<std::string>(3), "empty words");
  });
}

TEST(World, AnyIsTrueEverywhereWhenItIsTrueSomewhere) {
  expect_ranks(3, [](const World& world) {
    require(world.any(world.rank() == 2), "true on rank 2");
    require(!world.any(false), "true nowhere");
    require(world.any(true), "true everywhere");
  });
}

TEST(World, SplitsIntoGroupsByColor) {
  // Four ranks as 2 x 2: {0, 1} and {2, 3} by machine, {0, 2} and {1, 3} across.
  expect_ranks(4, [](const World& world) {
    const World inside = world.split(world.rank() / 2);
    const World across = world.split(world.rank() % 2);
    require(inside.size() == 2 && inside.rank() == world.rank() % 2, "place inside");
    require(across.size() == 2 && across.rank() == world.rank() / 2, "place across");
    at::Tensor sum = at::full({1}, world.rank(), at::kDouble);
    inside.all_reduce(sum).wait();
    require(sum.item<double>() == (world.rank() < 2 ? 1 : 5), "0 + 1 and 2 + 3");
    sum.fill_(world.rank());
    across.all_reduce(sum).wait();
    require(sum.item<double>() == (world.rank() % 2 == 0 ? 2 : 4), "0 + 2 and 1 + 3");
    const World alone = world.split(world.rank());
    require(alone.size() == 1 && alone.gather_words("me").size() == 1, "alone");
  });
}

TEST(World, SplitsIntoGroupsOfUnequalSize) {
  expect_ranks(4, [](const World& world) {
    const World part = world.split(world.rank() == 1 ? -7 : 0);
    require(part.size() == (world.rank() == 1 ? 1 : 3), "size");
    at::Tensor sum = at::full({1}, world.rank(), at::kFloat);
    part.all_reduce(sum).wait();
    require(sum.item<float>() == (world.rank() == 1 ? 1 : 5), "0 + 2 + 3 without 1");
  });
}

TEST(World, ARankThatDiffersIsNamedToAll) {
  expect_ranks(3, [](const World& world) {
    world.require_same("config", "train.seed: 42\nmodel.dtype: float32");
    try {
      world.require_same("config", fmt::format("train.seed: {}\nmodel.dtype: float32", world.rank() == 2 ? 43 : 42));
    } catch (const AgreedError& failure) {
      require(failure.what() == std::string("[distributed] rank 2 on box2 has another config than rank 0 on box0:\n"
                                            "  train.seed: 43   (rank 0: train.seed: 42)"),
              failure.what());
      return;
    }
    throw std::runtime_error("not refused");
  });
}

}  // namespace
}  // namespace rrhf::distributed
