#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/core/error.h"
#include "rrhf/optim/adamw.h"
#include "rrhf/optim/clip.h"
#include "rrhf/optim/schedule.h"

namespace rrhf::optim {
namespace {

at::Tensor doubles(std::vector<double> values) { return at::tensor(values, at::TensorOptions().dtype(at::kDouble)); }

void step(AdamW& optimizer, std::vector<at::Tensor> gradients, double learning_rate) {
  optimizer.step(gradients, learning_rate);
}

TEST(AdamW, FirstStepMovesByTheLearningRateWhateverTheGradient) {
  // m = 0.1 g, v = 0.001 g^2; corrected both are g and g^2, so the step is lr * sign(g) (epsilon aside)
  at::Tensor weight = doubles({1, 1, 1});
  AdamW optimizer({weight}, {.epsilon = 0});
  step(optimizer, {doubles({0.5, -20, 1e-4})}, 0.1);
  EXPECT_TRUE(at::allclose(weight, doubles({0.9, 1.1, 0.9}), 0, 1e-12)) << weight;
}

TEST(AdamW, SecondStepByHand) {
  // g1 = 1, g2 = 3: m = 0.9*0.1 + 0.1*3 = 0.39, v = 0.999*0.001 + 0.001*9 = 0.009999
  // m^ = 0.39/0.19, v^ = 0.009999/0.001999; w = 1 - 0.1 - 0.1 * m^ / (sqrt(v^) + 1e-8)
  at::Tensor weight = doubles({1});
  AdamW optimizer({weight}, {});
  step(optimizer, {doubles({1})}, 0.1);
  step(optimizer, {doubles({3})}, 0.1);
  const double expected = 1 - 0.1 / (1 + 1e-8) - 0.1 * (0.39 / 0.19) / (std::sqrt(0.009999 / 0.001999) + 1e-8);
  EXPECT_NEAR(weight.item<double>(), expected, 1e-12);
  EXPECT_EQ(optimizer.steps(), 2);
}

TEST(AdamW, WeightDecayIsDecoupled) {
  // w * (1 - lr * decay) - lr * sign(g) = 2 * 0.95 - 0.1
  at::Tensor weight = doubles({2});
  AdamW optimizer({weight}, {.epsilon = 0, .weight_decay = 0.5});
  step(optimizer, {doubles({7})}, 0.1);
  EXPECT_NEAR(weight.item<double>(), 1.8, 1e-12);
}

TEST(AdamW, KeepsFloat32MastersOfBfloat16Parameters) {
  // 2^-9 is lost on a bfloat16 weight of 1 (8 bits of precision), but four of them are not: 1 - 4/512 = 0.9921875
  at::Tensor weight = at::ones({1}, at::TensorOptions().dtype(at::kBFloat16));
  AdamW optimizer({weight}, {.betas = {0, 0}, .epsilon = 0});
  const at::Tensor gradient = at::ones({1}, at::TensorOptions().dtype(at::kFloat));
  for (int i = 0; i < 4; ++i) step(optimizer, {gradient}, 0x1p-9);
  EXPECT_NEAR(weight.to(at::kDouble).item<double>(), 0.9921875, 1e-6);
  EXPECT_EQ(optimizer.masters().front().scalar_type(), at::kFloat);
}

TEST(AdamW, RefusesAnotherNumberOfGradients) {
  AdamW optimizer({doubles({1})}, {});
  EXPECT_THROW(step(optimizer, {}, 0.1), Error);
}

TEST(Clip, ScalesToTheGlobalNorm) {
  // norm of (3), (0, 4) is 5
  const std::vector<at::Tensor> gradients{doubles({3}), doubles({0, 4})};
  EXPECT_NEAR(global_norm(gradients), 5, 1e-12);
  EXPECT_NEAR(clip_factor(5, 1), 1 / (5 + 1e-6), 1e-12);
}

TEST(Clip, SumsManySmallSquaresWithoutLosingThem) {
  // 3 * 2^24 + 5 elements of 1: a float32 sum of ones stops at 2^24.
  const at::Tensor ones = at::ones({3 * (1 << 24) + 5}, at::kFloat);
  EXPECT_NEAR(sum_of_squares({ones, ones.narrow(0, 0, 7)}), 3.0 * (1 << 24) + 12, 1);
}

TEST(Clip, SumsSquaresOfEveryDtypeAndSize) {
  at::manual_seed(3);
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const std::int64_t count : {0, 1, 4095, 4096, 9001, (1 << 20) + 4097}) {
      const at::Tensor values = at::randn({count}, at::kDouble).to(type);
      const double expected = values.to(at::kDouble).square().sum().item<double>();
      EXPECT_NEAR(sum_of_squares({values}), expected, 1e-6 * expected) << type << " " << count;
    }
  }
}

TEST(Clip, LeavesSmallGradientsAndZeroMeansOff) {
  EXPECT_EQ(clip_factor(0.5, 1), 1);
  EXPECT_EQ(clip_factor(500, 0), 1);
}

TEST(Schedule, WarmsUpFromZeroThenFallsByHalfACosine) {
  // S = 10, w = ceil(0.15 * 10) = 2; step 6 is half of the way: 0.5
  const Schedule schedule(ScheduleName::cosine, 0.15, 10);
  EXPECT_EQ(schedule.factor(0), 0);
  EXPECT_EQ(schedule.factor(1), 0.5);
  EXPECT_EQ(schedule.factor(2), 1);
  EXPECT_NEAR(schedule.factor(6), 0.5, 1e-12);
  EXPECT_NEAR(schedule.factor(9), 0.5 * (1 + std::cos(M_PI * 7 / 8)), 1e-12);
}

TEST(Schedule, LinearAndConstant) {
  const Schedule linear(ScheduleName::linear, 0, 4), constant(ScheduleName::constant, 0.5, 4);
  EXPECT_EQ(linear.factor(0), 1);
  EXPECT_EQ(linear.factor(3), 0.25);
  EXPECT_EQ(constant.factor(1), 0.5);
  EXPECT_EQ(constant.factor(3), 1);
}

TEST(Schedule, WarmupOverAllStepsEndsBeforeItsPeak) { EXPECT_EQ(Schedule(ScheduleName::cosine, 1, 4).factor(3), 0.75); }

}  // namespace
}  // namespace rrhf::optim
