#include "rrhf/train/memory_advice.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/train/device.h"
#include "rrhf/train/groups.h"

namespace rrhf::train {
namespace {

// A 7B LLaMA.
model::LlamaConfig large_model() {
  model::LlamaConfig model;
  model.vocab_size = 32001;
  model.hidden_size = 4096;
  model.intermediate_size = 11008;
  model.num_hidden_layers = 32;
  model.num_attention_heads = model.num_key_value_heads = 32;
  model.head_dim = 128;
  return model;
}

std::int64_t saved_by(const std::vector<Saving>& savings, const std::string& setting) {
  const auto found = std::ranges::find(savings, "--set " + setting, &Saving::setting);
  return found == savings.end() ? 0 : found->bytes;
}

// Of "--set a=b --set c=d".
std::vector<config::Override> overrides_of(std::string setting) {
  std::vector<config::Override> overrides;
  const std::string flag = "--set ";
  while (!setting.empty()) {
    const std::size_t next = setting.find(" " + flag, 1);
    overrides.push_back(config::parse_override(setting.substr(flag.size(), next - flag.size())));
    setting = next == std::string::npos ? "" : setting.substr(next + 1);
  }
  return overrides;
}

TEST(MemoryAdvice, SaysWhatEachSettingSaves) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  const model::LlamaConfig model = large_model();
  const std::int64_t weights = model.parameter_count();
  const std::vector<Saving> savings = possible_savings(model, config, {.cpu = false});
  EXPECT_TRUE(std::ranges::is_sorted(savings, std::ranges::greater(), &Saving::bytes));
  EXPECT_EQ(saved_by(savings, "optimizer.masters=none"), 4 * weights);
  EXPECT_EQ(saved_by(savings, "train.gradients=bfloat16"), 2 * weights);
  // 6 bytes a weight and moment pair, less a scale of 4 bytes for each 256 of either.
  EXPECT_NEAR(static_cast<double>(saved_by(savings, "optimizer.moments=8bit")) / static_cast<double>(weights),
              6 - 2 * 4.0 / 256, 1e-6);
  EXPECT_GT(saved_by(savings, "train.recompute=layer"), saved_by(savings, "train.recompute=mlp"));
  EXPECT_GT(saved_by(savings, "train.recompute=mlp"), 0);
  EXPECT_GT(saved_by(savings, "train.tokens_per_pack=2048"), 0);
  EXPECT_EQ(savings.front().setting, "--set lora.rank=16");
  EXPECT_EQ(savings[1].setting, "--set optimizer.place=host");
  config.optimizer.place = Place::host;
  const std::int64_t host = plan_memory(model, config, full_packs(config, false), {.cpu = false}).host;
  EXPECT_EQ(savings[1].condition, "and takes " + short_number(static_cast<double>(host)) + "B of the host's memory");
  const std::vector<Saving> on_small = possible_savings(model, config, {.cpu = false, .host = host - 1});
  EXPECT_EQ(saved_by(on_small, "optimizer.place=host"), 0) << "more than the machine has";

  config.optimizer.place = Place::device;
  EXPECT_NE(memory_advice(model, config, {.cpu = false}).find("--set optimizer.masters=none"), std::string::npos);
}

TEST(MemoryAdvice, DoesNotAdviseWhatIsTaken) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  config.optimizer = {.masters = Masters::none, .moments = Moments::eight_bit, .place = Place::host};
  config.train.recompute = Recompute::layer;
  config.train.layer_inputs = Place::host;
  config.train.gradients = Dtype::bfloat16;
  config.train.tokens_per_pack = 512;
  EXPECT_TRUE(possible_savings(large_model(), config, {.cpu = false}).empty());
  EXPECT_NE(memory_advice(large_model(), config, {.cpu = false}).find("a smaller model"), std::string::npos);
}

TEST(MemoryAdvice, KeepsStateOnTheHostForOneDeviceOnly) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  EXPECT_EQ(saved_by(possible_savings(large_model(), config, {.devices = 2, .cpu = false}), "optimizer.place=host"), 0);
  config.optimizer.place = Place::host;
  EXPECT_TRUE(state_on_host(config, /*cpu=*/false, 1));
  EXPECT_FALSE(state_on_host(config, /*cpu=*/true, 2));
  EXPECT_THROW(state_on_host(config, /*cpu=*/false, 2), InputError);
  EXPECT_THROW(plan_memory(large_model(), config, full_packs(config, false), {.devices = 2, .cpu = false}), InputError);
}

TEST(MemoryPlan, SaysWhatIsOnTheHost) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  config.optimizer.place = Place::host;
  config.train.recompute = Recompute::layer;
  config.train.layer_inputs = Place::host;
  const model::LlamaConfig model = large_model();
  const auto plan_of = [&] { return plan_memory(model, config, full_packs(config, false), {.cpu = false}); };
  const MemoryPlan all = plan_of();
  EXPECT_EQ(all.optimizer, 0);
  config.train.layer_inputs = Place::device;
  const MemoryPlan state = plan_of();
  EXPECT_EQ(all.host - state.host, 32LL * 4096 * 4096 * 2) << "a row of bfloat16 for each token and layer";
  config.train.layer_inputs = Place::host;
  config.train.tokens_per_pack = 4097;
  EXPECT_EQ(plan_of().host - state.host, 32LL * 2 * 4096 * 4096 * 2) << "filled up to a power of two";
  config.train.layer_inputs = Place::device;
  config.train.tokens_per_pack = 4096;
  EXPECT_EQ(state.activations - all.activations, 30LL * 4096 * 4096 * 2);
  // Masters and moments of 12 bytes a weight; gradients of 4, in units filled up to a power of two: 1 GiB a layer;
  // a unit's weights of 2 on their way, 512 MiB.
  EXPECT_EQ(state.host, 12 * model.parameter_count() + (32LL << 30) + (2LL << 29) + (1LL << 29));
}

TEST(WhyTooLarge, CountsWhatRanksHoldForThemselves) {
  const MemoryPlan plan{.weights = 10, .gradients = 10, .optimizer = 20, .activations = 5, .host = 70};
  EXPECT_FALSE(why_too_large(plan, 1, {.host = 45}));
  EXPECT_TRUE(why_too_large(plan, 1, {.host = 44}));
  EXPECT_FALSE(why_too_large(plan, 3, {.host = 125})) << "3 times 40, and 5 of what they share";
  const auto why = why_too_large(plan, 3, {.host = 124});
  ASSERT_TRUE(why);
  EXPECT_TRUE(why->starts_with("125B of this machine's memory would be taken by 3 ranks, and it has 124B")) << *why;
  EXPECT_FALSE(why_too_large(plan, 1, {.cpu = false, .host = 70}));
  const auto on_host = why_too_large(plan, 1, {.cpu = false, .host = 69});
  ASSERT_TRUE(on_host);
  EXPECT_NE(on_host->find("optimizer.place and train.layer_inputs"), std::string::npos) << *on_host;
}

TEST(InferenceAdvice, SaysWhatNarrowWeightsAndSmallerPacksSave) {
  config::RunConfig config;
  const model::LlamaConfig model = large_model();
  const auto pass = [](Dtype dtype, std::int64_t tokens) {
    return model::evaluation_memory(large_model(), model::scalar_type(dtype), {tokens, tokens},
                                    model::head_budget(false))
        .total();
  };
  const std::int64_t now = pass(Dtype::float32, 4096);
  const std::vector<Saving> savings{
      {"--set model.dtype=bfloat16", 2 * model.parameter_count() + now - pass(Dtype::bfloat16, 4096), {}},
      {"--set train.tokens_per_pack=2048", now - pass(Dtype::float32, 2048), {}}};
  EXPECT_EQ(inference_advice(model, config, false), saving_lines(savings));
  config.model.dtype = Dtype::bfloat16;
  config.train.tokens_per_pack = 512;
  EXPECT_NE(inference_advice(model, config, false).find("a smaller model"), std::string::npos);
}

TEST(SavingLines, StandInColumns) {
  const std::vector<Saving> savings{{"--set a=1", 2'500'000'000, {}}, {"--set longer=22", 700, "beside the fire"}};
  EXPECT_EQ(saving_lines(savings),
            "\n  --set a=1        would save  2.50GB"
            "\n  --set longer=22  would save    700B beside the fire");
}

TEST(WithMemoryAdvice, AnswersWhereMemoryHasRunOut) {
  const auto advice = [] { return std::string("\n  less"); };
  const auto said = [&](const auto& work) -> std::string {
    try {
      with_memory_advice(work, advice);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 1);
      return error.what();
    }
    return "";
  };
  const std::string all = "[memory] there is too little memory for this\n  less";
  EXPECT_TRUE(said([] { TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA"); }).starts_with(all + "\nCUDA"));
  EXPECT_EQ(said([] { throw std::bad_alloc(); }), all);
  constexpr std::int64_t far_too_much = std::int64_t{1} << 50;
  EXPECT_TRUE(said([] { at::empty({far_too_much}, at::TensorOptions(at::kByte)); }).starts_with(all + "\n"));
}

TEST(WithMemoryAdvice, LeavesAllElseAsItIs) {
  const auto advice = [] { return std::string("less"); };
  EXPECT_EQ(with_memory_advice([] { return 7; }, advice), 7);
  EXPECT_THROW(with_memory_advice([] { throw InputError("data", "broken"); }, advice), InputError);
  EXPECT_THROW(with_memory_advice([] { throw Interrupted("train", "stopped"); }, advice), Interrupted);
  EXPECT_THROW(with_memory_advice([] { TORCH_CHECK(false, "shapes"); }, advice), c10::Error);
}

TEST(MemoryAdvice, OffersUpdatesByLayerAlsoToWhoClips) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  const std::string both = "optimizer.update=layer --set optimizer.max_grad_norm=0";
  EXPECT_GT(saved_by(possible_savings(large_model(), config, {.cpu = false}), both), 0);
  EXPECT_NE(memory_advice(large_model(), config, {.cpu = false}).find("without clipping, where each step is one pack"),
            std::string::npos);
}

TEST(MemoryAdvice, OffersUpdatesByLayerToWhoDoesNotClip) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  const model::LlamaConfig model = large_model();
  const auto saved = [&] {
    return saved_by(possible_savings(model, config, {.cpu = false}), "optimizer.update=layer");
  };
  EXPECT_EQ(saved(), 0);
  config.optimizer.max_grad_norm = 0;
  // Gradients of 4 bytes, of which a layer's stay: four matrices of 4096 x 4096, three of 4096 x 11008, two norms.
  EXPECT_EQ(saved(), 4 * (model.parameter_count() - (4LL * 4096 * 4096 + 3LL * 4096 * 11008 + 2 * 4096)));
  EXPECT_NE(memory_advice(model, config, {.cpu = false}).find("where each step is one pack"), std::string::npos);
  config.optimizer.update = Update::layer;
  EXPECT_EQ(saved(), 0);
  const std::string advice = memory_advice(model, config, {.cpu = false});
  const std::size_t half = advice.find("train.tokens_per_pack=2048");
  EXPECT_NE(advice.find("with a train.queries_per_step that fits", half), std::string::npos) << advice;
}

TEST(MemoryAdvice, OffersNothingThatIsRefused) {
  for (const auto& [update, norm] : {std::pair{Update::step, 0.0}, {Update::step, 1.0}, {Update::layer, 0.0}}) {
    for (const Recompute recompute : {Recompute::none, Recompute::layer}) {
      for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16, Dtype::float64}) {
        config::RunConfig config;
        config.model.dtype = dtype;
        config.optimizer.max_grad_norm = norm;
        config.optimizer.update = update;
        config.train.recompute = recompute;
        config::require_fitting_forms(config);
        const std::string text = config::to_json(config).dump();
        for (const Saving& saving : possible_savings(large_model(), config, {.cpu = false})) {
          const auto changed = config::resolve(text, "test", overrides_of(saving.setting), {"rrhf", "none"});
          EXPECT_NO_THROW(config::require_fitting_forms(changed.config)) << saving.setting << " on " << text;
        }
      }
    }
  }
}

TEST(MemoryPlan, OfAdaptersHoldsTheirStateAlone) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  const model::LlamaConfig model = large_model();
  const auto plan_of = [&](const Sharing& sharing) {
    return plan_memory(model, config, full_packs(config, sharing.cpu), sharing);
  };
  const MemoryPlan all = plan_of({.cpu = false});
  config.lora.rank = 16;
  // A and B of each projection: 16 rows and columns of its two sides, four of 4096 and 4096, three of 4096 and 11008.
  const std::int64_t adapters = 32 * 16LL * (4 * (4096 + 4096) + 3 * (4096 + 11008));
  const MemoryPlan lora = plan_of({.cpu = false});
  EXPECT_EQ(lora.weights - all.weights, 2 * adapters);
  EXPECT_EQ(lora.gradients, 4 * adapters);
  EXPECT_EQ(lora.optimizer, 12 * adapters);
  // No product for the head's gradient, 32001 x 4096 in bfloat16.
  EXPECT_EQ(all.logits - lora.logits, 2 * 32001LL * 4096);
  config.lora.modules = {Projection::q_proj, Projection::v_proj};
  EXPECT_EQ(plan_of({.cpu = false}).gradients, 4 * 32 * 16LL * 2 * (4096 + 4096));
}

TEST(MemoryPlan, OfAdaptersBesideWeightsInPartsHasAllOfThemOnEachDevice) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  config.lora.rank = 16;
  const model::LlamaConfig model = large_model();
  const auto plan_of = [&](std::int64_t devices) {
    return plan_memory(model, config, full_packs(config, false),
                       {.devices = devices, .mode = ParallelMode::sharded, .cpu = false});
  };
  const MemoryPlan one = plan_of(1), eight = plan_of(8);
  EXPECT_EQ(one.gradients, eight.gradients);
  EXPECT_EQ(one.optimizer, eight.optimizer);
  EXPECT_EQ(one.weights - eight.weights, 2 * model.parameter_count() - 2 * ((model.parameter_count() + 7) / 8));
  // Two rooms for the largest unit, a layer, and none for gradients.
  EXPECT_EQ(eight.passing, 2 * 2 * (4LL * 4096 * 4096 + 3LL * 4096 * 11008 + 2 * 4096));
}

TEST(MemoryPlan, HoldsOneUnitsGradientsWhereUpdatesGoByLayer) {
  config::RunConfig config;
  config.optimizer = {.max_grad_norm = 0, .update = Update::layer};
  model::LlamaConfig model = large_model();
  const auto gradients = [&] {
    return plan_memory(model, config, full_packs(config, false), {.cpu = false}).gradients;
  };
  const std::int64_t layer = 4 * (4LL * 4096 * 4096 + 3LL * 4096 * 11008 + 2 * 4096);
  EXPECT_EQ(gradients(), layer);
  model.tie_word_embeddings = true;
  EXPECT_EQ(gradients(), 2 * layer) << "and the embedding's, in a room as large";
  EXPECT_THROW(plan_memory(model, config, full_packs(config, false), {.devices = 2, .cpu = false}), InputError);
}

TEST(MemoryAdvice, TheSmallFormsOf7BFitSixtyGigabytes) {
  config::RunConfig config;
  config.model.dtype = Dtype::bfloat16;
  config.optimizer = {.masters = Masters::none, .moments = Moments::eight_bit};
  config.train.gradients = Dtype::bfloat16;
  const MemoryPlan plan = plan_memory(large_model(), config, full_packs(config, false), {.cpu = false});
  EXPECT_LT(static_cast<double>(plan.total()), 60e9);
}

TEST(MemoryCap, IsForAGpu) { EXPECT_THROW(cap_memory(c10::kCPU, 1'000'000), InputError); }

}  // namespace
}  // namespace rrhf::train
