#include "rrhf/train/layer_updates.h"

#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/core/error.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/train/step_order.h"
#include "tests/core/support.h"
#include "tests/emulated/gpu.h"
#include "tests/train/small_training.h"

namespace rrhf::train {
namespace {

using testing::Form;
using testing::Outcome;
using testing::query_of;
using testing::set_of;
using testing::trained;

std::vector<Form> unclipped_forms() {
  std::vector<Form> forms;
  for (const bool tied : {false, true}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      Form form{.tied = tied, .type = type, .optimizer = {}, .tokens_per_pack = 1000, .max_grad_norm = 0};
      forms.push_back(form);
      form.optimizer = {.masters = Masters::none, .moments = Moments::eight_bit};
      if (type == at::kBFloat16) forms.push_back(form);
    }
  }
  return forms;
}

TEST(LayerUpdates, LeaveTheBytesThatUpdatesAtTheEndLeave) {
  std::vector<at::Device> devices{at::kCPU, emulated::gpu()};
  if (with_cuda && at::hasCUDA()) devices.emplace_back(at::kCUDA);
  for (const at::Device device : devices) {
    for (Form form : unclipped_forms()) {
      const Outcome at_the_end = trained(device, form);
      form.update = Update::layer;
      const Outcome by_layer = trained(device, form);
      EXPECT_TRUE(at::equal(by_layer.masters, at_the_end.masters)) << device << " " << form.type;
      EXPECT_EQ(by_layer.losses, at_the_end.losses);
      EXPECT_EQ(by_layer.norms, at_the_end.norms);
      EXPECT_EQ(at_the_end.updating, 0);
      EXPECT_GT(by_layer.updating, 0);
    }
  }
  EXPECT_EQ(emulated::races(), std::vector<std::string>());
}

TEST(LayerUpdates, HoldTheGradientsOfOneUnitAtATime) {
  for (const bool tied : {false, true}) {
    Form form{.tied = tied, .optimizer = {}, .tokens_per_pack = 1000, .max_grad_norm = 0};
    emulated::take_peak();
    const std::int64_t all = trained(emulated::gpu(), form).bytes.gradients, with_all = emulated::take_peak();
    form.update = Update::layer;
    const std::int64_t own = trained(emulated::gpu(), form).bytes.gradients, with_own = emulated::take_peak();
    EXPECT_LT(own, all / (tied ? 2 : 4));
    EXPECT_NEAR(static_cast<double>(with_all - with_own), static_cast<double>(all - own),
                0.05 * static_cast<double>(all))
        << (tied ? "tied" : "");
  }
}

TEST(LayerUpdates, WithNothingToLearnOnlyDecay) {
  for (const bool tied : {false, true}) {
    Form form{.tied = tied,
              .optimizer = {.weight_decay = 0.1},
              .tokens_per_pack = 1000,
              .max_grad_norm = 0,
              .objective = {.rank_weight = 0, .sft_weight = 0}};
    const Outcome at_the_end = trained(at::kCPU, form);
    form.update = Update::layer;
    const Outcome by_layer = trained(at::kCPU, form);
    EXPECT_TRUE(at::equal(by_layer.masters, at_the_end.masters));
    EXPECT_EQ(by_layer.norms, (std::vector<double>{0, 0, 0}));
    EXPECT_GT(by_layer.updating, 0);
    form.optimizer.weight_decay = 0;
    const at::Tensor expected = trained(at::kCPU, form).masters * std::pow(1 - 1e-2 * 0.1, 3);
    EXPECT_LE((by_layer.masters - expected).abs().max().item<double>(), 1e-14);
  }
}

TEST(LayerUpdates, RefuseWhatTheyCannotDo) {
  const auto error = [](const Form& form) -> std::string {
    try {
      trained(at::kCPU, form);
    } catch (const Error& failure) {
      return failure.what();
    }
    return "";
  };
  EXPECT_EQ(error({.optimizer = {}, .update = Update::layer, .max_grad_norm = 0}),
            "[train] unit 6 of the model is updated twice in a step, which must be one pass");
  EXPECT_EQ(error({.optimizer = {}, .update = Update::layer, .tokens_per_pack = 1000}),
            "[train] updates by layer can't be clipped by a norm of 1");
  EXPECT_EQ(error({.optimizer = {.on_host = true}, .update = Update::layer}),
            "[train] updates by layer need the optimizer's state where the weights are");
}

TEST(LayerUpdates, KnowNoNormBeforeAPass) {
  const distributed::World world;
  const Groups groups = make_groups({}, world);
  TrainedModel model(testing::small_config(false), at::kFloat, {}, groups, {.update = Update::layer});
  model.begin_step(1e-3);
  EXPECT_THROW(model.gradient_norm(), Error);
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
  EXPECT_EQ(rrhf::testing::error_of([&] { require_steps_of_one_pack(set, plan_of(2), 7); }),
            "[config] optimizer.update layer needs steps of one pack: step 2, the largest of those that take more, has "
            "26 tokens in 2 queries, "
            "and train.tokens_per_pack is 7; raise that to 26 or lower train.queries_per_step");
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
