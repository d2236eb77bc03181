#include "rrhf/train/model_parts.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "rrhf/core/error.h"
#include "rrhf/train/groups.h"
#include "tests/train/small_model.h"

namespace rrhf::train {
namespace {

using testing::small_config;

TEST(ModelParts, SlicesOfAllRanksAreTheTensors) {
  for (const bool tied : {false, true}) {
    const model::LlamaConfig config = small_config(tied);
    const auto shapes = model::tensor_shapes(config);
    for (const int ranks : {1, 2, 3, 4}) {
      std::vector<std::int64_t> covered(shapes.size());
      for (int rank = 0; rank < ranks; ++rank) {
        const ModelParts model(config, ranks, rank);
        const std::vector<at::Tensor> parts = model.zeros(at::TensorOptions().dtype(at::kFloat));
        const std::vector<Slice> slices = model.slices(parts);
        ASSERT_EQ(slices.size(), shapes.size());
        for (std::size_t i = 0; i < slices.size(); ++i) {
          if (slices[i].values.numel() == 0) continue;
          EXPECT_EQ(slices[i].begin, covered[i]) << i;  // ranks hold a tensor in their order
          covered[i] += slices[i].values.numel();
        }
      }
      for (std::size_t i = 0; i < shapes.size(); ++i) EXPECT_EQ(covered[i], c10::multiply_integers(shapes[i])) << i;
    }
  }
}

TEST(ModelParts, PlacesAUnitsTensorsIntoItsBufferAndTakesThemOut) {
  const model::LlamaConfig config = small_config(true);
  const ModelParts model(config, 1, 0);
  const std::vector<at::Tensor> parts = model.zeros(at::TensorOptions().dtype(at::kFloat));
  model::Weights weights;
  model.place(weights, 0, parts[0]);
  EXPECT_EQ(weights.embedding_VD.sizes(), (at::IntArrayRef{13, 12}));
  EXPECT_TRUE(weights.final_norm_D.defined());  // tied: beside the embedding
  EXPECT_FALSE(weights.layers[0].qkv_QD.defined());
  model.slices(parts)[0].values.fill_(3);
  EXPECT_EQ(weights.embedding_VD.min().item<float>(), 3);
  EXPECT_EQ(weights.final_norm_D.max().item<float>(), 0);
  model.place(weights, 0, {});
  EXPECT_FALSE(weights.embedding_VD.defined());
}

TEST(Groups, OneRankIsItsOwnGroupInAnyMode) {
  const distributed::World world;
  for (const ParallelMode mode : {ParallelMode::replicated, ParallelMode::sharded}) {
    const Groups groups = make_groups({.mode = mode, .shard_size = {}}, world);
    EXPECT_EQ(groups.shards.size(), 1);
    EXPECT_EQ(groups.copies.size(), 1);
  }
}

TEST(Groups, AShardSizeNeedsShardedMode) {
  const distributed::World world;
  EXPECT_THROW(make_groups({.mode = ParallelMode::replicated, .shard_size = 2}, world), InputError);
}

}  // namespace
}  // namespace rrhf::train
