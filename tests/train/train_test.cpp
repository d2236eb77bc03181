#include <gtest/gtest.h>

#include <algorithm>

#include "rrhf/core/error.h"
#include "rrhf/train/device.h"
#include "rrhf/train/inputs.h"
#include "rrhf/train/memory_plan.h"
#include "rrhf/train/step_order.h"
#include "rrhf/train/totals.h"
#include "tests/train/small_model.h"

namespace rrhf::train {
namespace {

TEST(HeldOutRows, AreAShareChosenByTheSeed) {
  const std::vector<bool> chosen = held_out_rows(50, 0.1, 42);
  EXPECT_EQ(chosen.size(), 50u);
  EXPECT_EQ(std::ranges::count(chosen, true), 5);
  EXPECT_EQ(held_out_rows(50, 0.1, 42), chosen);
  EXPECT_NE(held_out_rows(50, 0.1, 43), chosen);
}

TEST(HeldOutRows, AreAtLeastOneAndNeverAll) {
  EXPECT_EQ(std::ranges::count(held_out_rows(3, 0.01, 1), true), 1);
  EXPECT_EQ(std::ranges::count(held_out_rows(3, 0, 1), true), 0);
  EXPECT_THROW(held_out_rows(1, 0.5, 1), InputError);
}

TEST(PlanSteps, ReleasedOrderIsTorchsPermutationPaddedToEight) {
  config::RunConfig config;
  config.train = {.epochs = 2,
                  .max_steps = {},
                  .queries_per_step = 16,
                  .tokens_per_pack = {},
                  .seed = 42,
                  .order = RowOrder::released,
                  .epoch_end = EpochEnd::carry};
  data::StepPlan plan = plan_steps(config, 10);
  // 10 queries padded to 16: a step an epoch. torch.randperm(10, generator seeded 42), as torch 2.13 prints it in
  // Python, then its first six again.
  EXPECT_EQ(plan.steps(), 2);
  EXPECT_EQ(plan.queries(0), (std::vector<std::int64_t>{2, 6, 1, 8, 4, 5, 0, 9, 3, 7, 2, 6, 1, 8, 4, 5}));
}

TEST(PlanSteps, ShuffledEpochsHoldEveryQueryOnceInOrdersOfTheirOwn) {
  config::RunConfig config;
  config.train.queries_per_step = 10;
  data::StepPlan plan = plan_steps(config, 10);
  auto first = plan.queries(0), second = plan.queries(1);
  EXPECT_NE(first, second);
  std::ranges::sort(first);
  std::ranges::sort(second);
  EXPECT_EQ(first, second);
  EXPECT_EQ(first, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(PlanSteps, WithoutShuffleKeepsTheFilesOrder) {
  config::RunConfig config;
  config.data.shuffle = false;
  config.train.queries_per_step = 3;
  EXPECT_EQ(plan_steps(config, 4).queries(1), (std::vector<std::int64_t>{3}));
}

TEST(Totals, ReportMeansAndNothingWhereThereIsNothing) {
  const data::EncodedQuery query{
      .prompt = {1, 5}, .responses = {{3, 2}, {2}}, .rewards = {1, 2}, .padded_length = 4, .index = 0, .group = {}};
  objective::QueryLoss loss;
  loss.loss = 3;
  loss.best = 1;
  loss.ranking = {.pairs = 1, .ordered = 1, .margin = 0.5};
  const std::vector<double> logprobs{-4, -0.5};
  Totals totals;
  totals += Totals(query, loss, logprobs);
  totals += Totals(query, loss, logprobs);
  EXPECT_EQ(totals.tokens, 10);
  EXPECT_EQ(totals.mean(totals.loss), 3);
  EXPECT_EQ(totals.rank_accuracy(), 1);
  EXPECT_NEAR(totals.perplexity(), std::exp(0.5), 1e-12);
  EXPECT_TRUE(loss_fields(Totals{}).at("rank_accuracy").is_null());
}

TEST(GpuOf, IsThatOfTheRanksNumberOrTheOnlyOne) {
  const UsableGpus eight = usable_gpus(true, std::vector(8, 90));
  EXPECT_EQ(gpu_of(0, eight), 0);
  EXPECT_EQ(gpu_of(5, eight), 5);
  EXPECT_THROW(gpu_of(8, eight), InputError);
  EXPECT_EQ(gpu_of(3, usable_gpus(true, std::vector{90})), 0) << "a starter that shows each rank one GPU";
  const UsableGpus mixed = usable_gpus(true, std::vector{75, 90});
  EXPECT_EQ(gpu_of(0, mixed), 1);
  EXPECT_THROW(gpu_of(1, mixed), InputError) << "not the other's";
}

TEST(PlanMemory, CutsTheModelAmongTheDevicesThereAre) {
  const model::LlamaConfig model = testing::small_config(false);
  const auto weights = [&](std::optional<std::int64_t> shard_size, std::int64_t devices) {
    config::RunConfig config;
    config.parallel.shard_size = shard_size;
    return plan_memory(model, config, {.largest_pack = {8, 8}}, {.devices = devices, .mode = ParallelMode::sharded})
        .weights;
  };
  EXPECT_LT(weights(4, 8), weights({}, 1) / 3);
  EXPECT_EQ(weights(4, 8), weights({}, 4));
  EXPECT_EQ(weights(8, 4), weights({}, 4)) << "as training does it";
}

TEST(PlanMemory, RefusesWhatTrainingRefuses) {
  const model::LlamaConfig model = testing::small_config(false);
  config::RunConfig config;
  config.parallel.shard_size = 2;
  const auto plan = [&](Sharing sharing) { return plan_memory(model, config, {.largest_pack = {8, 8}}, sharing); };
  EXPECT_THROW(plan({.devices = 3, .mode = ParallelMode::sharded}), InputError);
  EXPECT_THROW(plan({.devices = 4, .mode = ParallelMode::replicated}), InputError);
  EXPECT_NO_THROW(plan({.devices = 4, .mode = ParallelMode::sharded}));
}

TEST(PlanMemory, RefusesSizesBeyondCounting) {
  model::LlamaConfig model = testing::small_config(false);
  const config::RunConfig config;
  const StepShape shape{.largest_pack = {1'000'000'000, 1'000'000'000}};
  EXPECT_GT(plan_memory(model, config, shape, {}).total(), 0);
  EXPECT_THROW(plan_memory(model, config, shape, {.devices = std::int64_t{1} << 40}), InputError);
  model.num_hidden_layers = 4096;
  model.intermediate_size = 1 << 30;
  EXPECT_THROW(plan_memory(model, config, shape, {}), InputError);
  EXPECT_FALSE(largest_pack_within(model, config, {}, std::int64_t{1} << 30));
  // 48 TiB a pack of 256 tokens and as much of weights; no overflow on the way there.
  EXPECT_TRUE(largest_pack_within(model, config, {}, std::int64_t{1} << 60));
}

TEST(ChooseDevice, CpuIsAlwaysThere) {
  EXPECT_TRUE(choose_device(DeviceChoice::cpu).is_cpu());
  if (choose_device(DeviceChoice::automatic).is_cuda()) GTEST_SKIP() << "this machine has CUDA: nothing is refused";
  EXPECT_THROW(choose_device(DeviceChoice::cuda), InputError);
}

TEST(UsableGpus, AreThoseThatKernelsRunOn) {
  const auto numbers = [](bool kernels, std::vector<int> capabilities) {
    return usable_gpus(kernels, capabilities).numbers;
  };
  const auto why = [](bool kernels, std::vector<int> capabilities) {
    return usable_gpus(kernels, capabilities).why_none;
  };
  EXPECT_EQ(numbers(true, {90, 75, 80}), (std::vector{0, 2}));
  EXPECT_EQ(why(true, {90, 75, 80}), "");
  EXPECT_TRUE(numbers(true, {70, 75}).empty());
  EXPECT_EQ(why(true, {70, 75}), "its compute capability is 7.5 and the kernels need 8.0 (A100, RTX 30 and later)");
  EXPECT_TRUE(numbers(false, {90}).empty());
  EXPECT_NE(why(false, {90}).find("built for the CPU"), std::string::npos);
  EXPECT_EQ(why(true, {}), "");
  EXPECT_EQ(why(false, {}), "");
}

TEST(WarnOfSlowDevice, SpeaksOfWideDtypesOnAGpu) {
  const auto said = [](at::Device device, Dtype dtype) {
    ::testing::internal::CaptureStderr();
    warn_of_slow_device(DeviceChoice::cuda, device, dtype);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_NE(said(at::kCUDA, Dtype::float32).find("warning: in float32"), std::string::npos);
  EXPECT_EQ(said(at::kCUDA, Dtype::bfloat16), "");
  EXPECT_EQ(said(at::kCPU, Dtype::float32), "");
}

}  // namespace
}  // namespace rrhf::train
