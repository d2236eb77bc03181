#include "rrhf/train/layer_updates.h"

#include <gtest/gtest.h>

#include "rrhf/core/error.h"
#include "rrhf/train/trainer.h"
#include "tests/emulated/gpu.h"
#include "tests/train/small_training.h"

namespace rrhf::train {
namespace {

using testing::Form;
using testing::Outcome;
using testing::query_of;
using testing::set_of;
using testing::trained;

TEST(LayerUpdates, LeaveTheBytesThatUpdatesAtTheEndLeave) {
  for (const at::Device device : {at::Device(at::kCPU), emulated::gpu()}) {
    for (const bool tied : {false, true}) {
      for (const Masters masters : {Masters::float32, Masters::none}) {
        for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
          if (masters == Masters::none && type != at::kBFloat16) continue;
          if (type == at::kBFloat16 && !device.is_cpu()) continue;  // its updates on a GPU are kernels of CUDA's
          Form form{.tied = tied,
                    .type = type,
                    .optimizer = {.masters = masters,
                                  .moments = masters == Masters::none ? Moments::eight_bit : Moments::float32},
                    .tokens_per_pack = 1000,
                    .max_grad_norm = 0};
          const Outcome at_the_end = trained(device, form);
          form.update = Update::layer;
          const Outcome by_layer = trained(device, form);
          EXPECT_TRUE(at::equal(by_layer.masters, at_the_end.masters)) << device << " " << type;
          EXPECT_EQ(by_layer.losses, at_the_end.losses);
          for (std::size_t step = 0; step < by_layer.norms.size(); ++step) {
            EXPECT_NEAR(by_layer.norms[step], at_the_end.norms[step], 1e-6 * at_the_end.norms[step]);
          }
          EXPECT_LT(by_layer.gradients, at_the_end.gradients / (tied ? 2 : 4));
        }
      }
    }
  }
  EXPECT_EQ(emulated::races(), std::vector<std::string>());
}

TEST(LayerUpdates, RefuseASecondPassOfAStep) {
  try {
    trained(at::kCPU, {.update = Update::layer});
    ADD_FAILURE() << "three passes";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[train] unit 6 of the model is updated twice in a step");
  }
}

TEST(LayerUpdates, NeedStepsOfOnePack) {
  const EncodedSet set = set_of({query_of(2, {2, 1}), query_of(1, {1}), query_of(3, {2}), query_of(20, {1})});
  const auto plan_of = [&](std::int64_t queries) {
    config::RunConfig config;
    config.data.shuffle = false;
    config.train.queries_per_step = queries;
    return plan_steps(config, set.size());
  };
  EXPECT_NO_THROW(require_steps_of_one_pack(set, plan_of(1), 7)) << "a query that is longer is a pack of its own";
  EXPECT_NO_THROW(require_steps_of_one_pack(set, plan_of(4), 33));
  try {
    require_steps_of_one_pack(set, plan_of(2), 7);
    ADD_FAILURE() << "the third and fourth query have 26 tokens";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(),
                 "[train] step 2 of 2 queries takes 2 packs of 7 tokens (train.tokens_per_pack), and with "
                 "optimizer.update layer a step must be one pack: this one has 26 tokens; larger packs take little "
                 "memory with train.recompute layer");
  }
}

TEST(LayerUpdates, AreForOneProcess) {
  config::RunConfig config;
  EXPECT_FALSE(updates_by_layer(config, 8));
  config.optimizer.update = Update::layer;
  EXPECT_TRUE(updates_by_layer(config, 1));
  EXPECT_THROW(updates_by_layer(config, 2), InputError);
}

}  // namespace
}  // namespace rrhf::train
