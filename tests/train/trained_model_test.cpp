// What ranks hold of a model in training, as forked processes.
#include "rrhf/train/trained_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/distributed/support.h"
#include "tests/train/small_model.h"

namespace rrhf::train {
namespace {

using rrhf::testing::expect_ranks;
using rrhf::testing::require;
using testing::small_config;

TEST(TrainedModel, CopiesAreClippedByTheSameNormWhateverTheyMadeOfIt) {
  expect_ranks(4, [](const distributed::World& world) {
    // 2 x 2. Copies hold the same gradients; here they don't, as if they had added up in another order: copy 0 has
    // 156 ones in the embedding, copy 1 twos.
    const Groups groups = make_groups({.mode = ParallelMode::sharded, .shard_size = 2}, world);
    TrainedModel model(small_config(false), at::kFloat, {}, groups);
    model.gradients().need(0);
    model.gradients().weights().embedding_VD.fill_(world.rank() < 2 ? 0.5 : 1);  // each shard of a copy adds its own
    model.gradients().done(0);
    model.gradients().finish();
    const double norm = model.gradient_norm();
    require(std::abs(norm - std::sqrt(156)) < 1e-5, "the norm of copy 0");
    const std::vector<std::string> norms = world.gather_words(fmt::format("{:a}", norm));
    require(norms == std::vector<std::string>(4, norms.front()), "to the last bit");
  });
}

TEST(TrainedModel, WholeTensorsOfAllKindsPassThroughOneRoom) {
  expect_ranks(2, [](const distributed::World& world) {
    const Groups groups = make_groups({.mode = ParallelMode::sharded, .shard_size = {}}, world);
    TrainedModel model(small_config(false), at::kFloat, {}, groups);
    model.initialize(1);
    model.begin_step(1e-3);
    model.gradients().need(0);
    model.gradients().weights().embedding_VD.fill_(1);
    model.gradients().done(0);
    model.gradients().finish();
    model.update(1, 0);  // each of 2 ranks added 1: moments of 0.1 * 2 and 0.001 * 2^2
    const checkpoint::TrainingTensors tensors = model.tensors();
    require(tensors.masters.units.size() == 4 && tensors.second_moments.units.size() == 4, "units");
    const at::Tensor embedding = tensors.masters.whole(0).front();
    const void* room = embedding.const_data_ptr();
    const auto first = embedding.abs().max().item<double>();
    require(embedding.size(0) == 13 && first > 0, "the whole embedding");
    const auto largest_of = [&](const checkpoint::TensorUnits& kind) {
      const at::Tensor whole = kind.whole(0).front();
      require(whole.const_data_ptr() == room, "one room");
      return whole.abs().max().item<double>();
    };
    require(std::abs(largest_of(tensors.first_moments) - 0.2) < 1e-6, "first moments");
    require(std::abs(largest_of(tensors.second_moments) - 0.004) < 1e-8, "second moments");
    require(largest_of(tensors.masters) == first, "masters again");
    require(tensors.first_moments.whole(3).front().const_data_ptr() == room, "for every unit");
  });
}

}  // namespace
}  // namespace rrhf::train
