// Units of one rank and of several, as forked processes. Expected values are sums of whole numbers.
#include <ATen/ATen.h>

#include "rrhf/distributed/gathered_units.h"
#include "rrhf/distributed/reduced_units.h"
#include "rrhf/distributed/unit_layout.h"
#include "support.h"

namespace rrhf::distributed {
namespace {

using testing::expect_ranks;
using testing::require;

TEST(UnitLayout, TensorsBeginAtWholeLinesAndPartsAreEqual) {
  // 70 elements end at 70, the next begins at 128; 128 + 10 = 138 is filled up to 256: with 2 parts to 512.
  const UnitLayout layout({{7, 10}, {10}}, 2);
  EXPECT_EQ(layout.size(), 512);
  EXPECT_EQ(layout.part_size(), 256);
  EXPECT_EQ(UnitLayout({{7, 10}, {10}}, 1).size(), 256);
  const at::Tensor whole = at::arange(512);
  const std::vector<at::Tensor> views = layout.views(whole);
  EXPECT_EQ(views[0].sizes(), (at::IntArrayRef{7, 10}));
  EXPECT_EQ(views[0][6][9].item<int>(), 69);
  EXPECT_EQ(views[1][0].item<int>(), 128);
}

TEST(UnitLayout, PiecesOfAllPartsAreTheTensors) {
  for (const int parts : {1, 2, 3, 5, 8}) {
    const UnitLayout layout({{33, 9}, {5}, {64}, {100, 3}}, parts);
    at::Tensor whole = at::zeros({layout.size()});
    std::vector<at::Tensor> rebuilt, views = layout.views(whole);
    double next = 1;
    for (at::Tensor& view : views) {
      view.copy_(at::arange(next, next + static_cast<double>(view.numel())).view(view.sizes()));
      next += static_cast<double>(view.numel());
      rebuilt.push_back(at::zeros({view.numel()}));
    }
    for (int part = 0; part < parts; ++part) {
      const at::Tensor own = whole.narrow(0, part * layout.part_size(), layout.part_size());
      for (const Piece& piece : layout.pieces(part)) {
        rebuilt[piece.tensor]
            .narrow(0, piece.tensor_begin, piece.size)
            .copy_(own.narrow(0, piece.part_begin, piece.size));
      }
    }
    for (std::size_t i = 0; i < views.size(); ++i) EXPECT_TRUE(at::equal(rebuilt[i], views[i].reshape({-1}))) << parts;
  }
}

TEST(GatheredUnits, OfOneRankAreItsParts) {
  const World world;
  const std::vector<at::Tensor> parts{at::ones({64}), at::ones({128})};
  GatheredUnits units(world, parts);
  EXPECT_TRUE(units.need(1, 0).is_same(parts[1]));
  EXPECT_TRUE(units.need(0, std::nullopt).is_same(parts[0]));
}

TEST(ReducedUnits, OfOneRankAreAddedToInPlace) {
  const World shards, copies;
  const std::vector<at::Tensor> parts{at::zeros({64})};
  ReducedUnits units(shards, copies, parts);
  for (int pass = 0; pass < 2; ++pass) {
    if (pass == 1) units.begin_last_pass();
    units.need(0).add_(1.5);
    units.done(0);
  }
  units.finish();
  EXPECT_TRUE(at::all(parts[0] == 3).item<bool>());
}

// Every element of unit u on rank r is 100 u + r.
std::vector<at::Tensor> numbered_parts(int rank) {
  std::vector<at::Tensor> parts;
  for (int unit = 0; unit < 4; ++unit) parts.push_back(at::full({64}, 100.0 * unit + rank));
  return parts;
}

at::Tensor numbered_whole(int ranks, int unit) {
  std::vector<at::Tensor> parts;
  for (int rank = 0; rank < ranks; ++rank) parts.push_back(numbered_parts(rank)[static_cast<std::size_t>(unit)]);
  return at::cat(parts);
}

TEST(GatheredUnits, AreWholeInWhateverOrderTheyAreNeeded) {
  expect_ranks(3, [](const World& world) {
    const std::vector<at::Tensor> parts = numbered_parts(world.rank());
    GatheredUnits units(world, parts);
    using Next = std::optional<std::size_t>;
    // In order with the next announced; the same again; one that was not announced; nothing announced.
    const std::vector<std::pair<std::size_t, Next>> calls{{0, 1}, {1, 2}, {2, {}}, {2, 1}, {1, 0}, {3, 2}, {0, {}}};
    for (const auto& [unit, next] : calls) {
      require(at::equal(units.need(unit, next), numbered_whole(3, static_cast<int>(unit))), "whole unit");
    }
    parts[0].fill_(7);
    units.drop();
    require(at::all(units.need(0, 1) == 7).item<bool>(), "gathered anew after drop()");
    units.drop();
  });
}

TEST(ReducedUnits, SumOverShardsInEveryPassAndOverCopiesAtTheEnd) {
  // Ranks 0 and 1 are the shards of one copy, 2 and 3 those of another.
  expect_ranks(4, [](const World& world) {
    const World shards = world.split(world.rank() / 2), copies = world.split(world.rank() % 2);
    const std::vector<at::Tensor> parts{at::zeros({64}), at::zeros({64})};
    ReducedUnits units(shards, copies, parts);
    for (int pass = 1; pass <= 3; ++pass) {
      if (pass == 3) units.begin_last_pass();
      for (const std::size_t unit : {1, 0}) {
        at::Tensor whole = units.need(unit);
        require(whole.numel() == 128, "a whole unit");
        // The second shard's half gets ten times as much.
        whole.narrow(0, 0, 64).add_(pass * (world.rank() + 1.0));
        whole.narrow(0, 64, 64).add_(10.0 * pass * (world.rank() + 1.0));
        units.done(unit);
      }
    }
    units.finish();
    // (1 + 2 + 3 passes) * (1 + 2 + 3 + 4 of the ranks) = 60
    const double expected = shards.rank() == 0 ? 60 : 600;
    for (const at::Tensor& part : parts) require(at::all(part == expected).item<bool>(), "the sum");
  });
}

TEST(ReducedUnits, OfCopiesAloneAreSummedOnce) {
  expect_ranks(3, [](const World& world) {
    const World shards;
    const std::vector<at::Tensor> parts{at::zeros({64})};
    ReducedUnits units(shards, world, parts);
    for (int step = 1; step <= 2; ++step) {
      parts[0].zero_();
      for (int pass = 0; pass < 2; ++pass) {
        if (pass == 1) units.begin_last_pass();
        units.need(0).add_(world.rank() + 1.0);
        units.done(0);
      }
      units.finish();
      require(at::all(parts[0] == 12).item<bool>(), "two passes of 1 + 2 + 3");
    }
  });
}

}  // namespace
}  // namespace rrhf::distributed
