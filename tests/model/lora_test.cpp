// Adapters of a small LLaMA: where they stand, what they add, their gradients against differences of the loss.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "rrhf/core/error.h"
#include "rrhf/model/decoder.h"
#include "rrhf/model/llama.h"
#include "rrhf/model/tensor_set.h"
#include "tests/model/grouped_config.h"

namespace rrhf::model {
namespace {

const LoraOptions query_value_up{
    .rank = 3, .alpha = 6, .modules = {Projection::q_proj, Projection::v_proj, Projection::up_proj}};

TEST(LoraLayout, StandsBesideTheRowsOfItsProjections) {
  const LoraLayout layout(grouped_config(), query_value_up);
  EXPECT_EQ(layout.scale(), 2);
  // Query 8 rows, key 4, value 4; gate 6, up 6.
  const auto& qkv = layout.blocks(LayerProduct::qkv);
  ASSERT_EQ(qkv.size(), 2U);
  EXPECT_EQ(qkv[0].rows.begin, 0);
  EXPECT_EQ(qkv[0].rows.size, 8);
  EXPECT_EQ(qkv[1].projection, Projection::v_proj);
  EXPECT_EQ(qkv[1].rows.begin, 12);
  EXPECT_EQ(qkv[1].rows.size, 4);
  EXPECT_EQ(layout.shapes(LayerProduct::qkv)[0], (std::vector<std::int64_t>{6, 8}));
  EXPECT_EQ(layout.shapes(LayerProduct::qkv)[1], (std::vector<std::int64_t>{12, 3}));
  EXPECT_TRUE(layout.blocks(LayerProduct::output).empty());
  EXPECT_EQ(layout.blocks(LayerProduct::gate_up).front().rows.begin, 6);
  EXPECT_TRUE(layout.blocks(LayerProduct::down).empty());
}

TEST(LoraLayout, RefusesNoRankAndNoProjections) {
  EXPECT_THROW(LoraLayout(grouped_config(), {}), Error);
  EXPECT_THROW(LoraLayout(grouped_config(), {.rank = 0}), Error);
  EXPECT_THROW(LoraLayout(grouped_config(), {.rank = 2, .modules = {}}), Error);
}

TEST(TensorSet, OfAModelIsItsWeights) {
  const LlamaConfig config = grouped_config();
  const TensorSet set = config;
  EXPECT_EQ(set.adapters(), nullptr);
  EXPECT_EQ(set.shapes(), tensor_shapes(config));
  EXPECT_EQ(set.parameters(), config.parameter_count());
  std::set<std::size_t> numbers;
  for (std::size_t unit = 0; unit < set.units(); ++unit) numbers.insert(set.unit(unit).begin(), set.unit(unit).end());
  EXPECT_EQ(numbers.size(), set.size());
}

TEST(TensorSet, OfAdaptersNamesThemAsPeftDoes) {
  const TensorSet set(grouped_config(), LoraLayout(grouped_config(), query_value_up));
  ASSERT_EQ(set.size(), 8U);  // two layers, two products, A and B
  EXPECT_EQ(set.parameters(), 2 * (6 * 8 + 12 * 3 + 3 * 8 + 6 * 3));
  EXPECT_TRUE(set.unit(Units::embedding()).empty());
  EXPECT_TRUE(set.unit(set.units() - 1).empty());
  EXPECT_EQ(set.unit(Units::layer(1)), (std::vector<std::size_t>{4, 5, 6, 7}));
  const at::Tensor a = at::arange(48).view({6, 8}), b = at::arange(36).view({12, 3});
  const auto parts = set.named_parts(4, a), others = set.named_parts(5, b);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0].name, "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight");
  EXPECT_TRUE(at::equal(parts[1].view, a.narrow(0, 3, 3)));
  EXPECT_EQ(others[1].name, "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
  EXPECT_TRUE(at::equal(others[1].view, b.narrow(0, 8, 4)));
  EXPECT_EQ(set.named_parts(7, b.narrow(0, 0, 6)).front().name,
            "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight");
}

TEST(DrawAdapters, BeginsWithANothingThatCanLearn) {
  const TensorSet set(grouped_config(), LoraLayout(grouped_config(), query_value_up));
  std::vector<at::Tensor> first, again;
  draw_adapters(set, 5, [&](std::size_t, const at::Tensor& value) { first.push_back(value); });
  draw_adapters(set, 5, [&](std::size_t, const at::Tensor& value) { again.push_back(value); });
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_TRUE(at::equal(first[i], again[i]));
    EXPECT_EQ(first[i].count_nonzero().item<std::int64_t>(), i % 2 == 0 ? first[i].numel() : 0) << i;
  }
}

// A model in float64 with adapters that add something, and a loss of it.
struct Adapted {
  LlamaConfig config = grouped_config();
  LoraLayout layout;
  TensorSet set;
  Weights weights;
  std::vector<at::Tensor> adapters;
  Pack pack;
  std::vector<std::vector<std::int32_t>> tokens{{1, 4}, {5, 6, 2}, {7, 2}, {1}, {3, 2}};
  std::vector<double> coefficients{0.7, -0.4, 1.1};

  explicit Adapted(const LoraOptions& options) : layout(config, options), set(config, layout) {
    weights = zero_weights(config, at::kDouble);
    initialize(weights, config, 1);
    at::manual_seed(2);
    for (at::Tensor* place : set.places(weights)) {
      *place = at::randn(set.shapes()[adapters.size()], at::kDouble).mul_(0.3);
      adapters.push_back(*place);
    }
    const std::vector<PackInput> inputs{{tokens[0], {tokens[1], tokens[2]}}, {tokens[3], {tokens[4]}}};
    pack = make_pack(inputs, at::kCPU);
  }

  Llama llama() const { return {config, std::make_shared<Parameters>(weights), {}, layout}; }

  double loss() const {
    const std::vector<double> logprobs = llama().forward(pack);
    double sum = 0;
    for (std::size_t i = 0; i < logprobs.size(); ++i) sum += coefficients[i] * logprobs[i];
    return sum;
  }
};

TEST(Lora, GradientsAreTheSlopesOfTheLoss) {
  for (const Recompute recompute : {Recompute::none, Recompute::mlp, Recompute::layer}) {
    for (const LoraOptions& options : {query_value_up, LoraOptions{.rank = 2, .alpha = 3}}) {
      Adapted model(options);
      Weights slopes;  // frozen: none of the weights' is defined
      std::size_t number = 0;
      for (at::Tensor* place : model.set.places(slopes)) *place = at::zeros(model.set.shapes()[number++], at::kDouble);
      Gradients gradients(slopes);
      Activations saved{.recompute = recompute};
      const Llama llama = model.llama();
      llama.forward(model.pack, &saved);
      llama.backward(model.pack, model.coefficients, saved, gradients);
      EXPECT_FALSE(gradients.weights().embedding_VD.defined());
      EXPECT_FALSE(gradients.weights().layers[0].qkv_QD.defined());
      number = 0;
      for (at::Tensor* place : model.set.places(gradients.weights())) {
        const at::Tensor adapter = model.adapters[number++].view({-1}), slope = place->view({-1});
        for (std::int64_t i = 0; i < adapter.numel(); i += 5) {
          constexpr double step = 1e-5;
          const double value = adapter[i].item<double>();
          adapter[i].fill_(value + step);
          const double above = model.loss();
          adapter[i].fill_(value - step);
          const double below = model.loss();
          adapter[i].fill_(value);
          const double expected = (above - below) / (2 * step);
          EXPECT_NEAR(slope[i].item<double>(), expected, 1e-8 * std::max(1.0, std::abs(expected)))
              << number << ' ' << i;
        }
      }
    }
  }
}

TEST(Lora, ComputesWithTheSumOfWeightsAndProducts) {
  Adapted model(query_value_up);
  Weights merged = zero_weights(model.config, at::kDouble);
  const std::vector<at::Tensor> to = merged.tensors(), from = model.weights.tensors();
  for (std::size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
  for (std::size_t i = 0; i < merged.layers.size(); ++i) {
    const LowRank& qkv = model.weights.layers[i].adapter(LayerProduct::qkv);
    const LowRank& gate_up = model.weights.layers[i].adapter(LayerProduct::gate_up);
    merged.layers[i].qkv_QD.narrow(0, 0, 8).add_(at::mm(qkv.b_OR.narrow(0, 0, 8), qkv.a_NI.narrow(0, 0, 3)), 2);
    merged.layers[i].qkv_QD.narrow(0, 12, 4).add_(at::mm(qkv.b_OR.narrow(0, 8, 4), qkv.a_NI.narrow(0, 3, 3)), 2);
    merged.layers[i].gate_up_2FD.narrow(0, 6, 6).add_(at::mm(gate_up.b_OR, gate_up.a_NI), 2);
  }
  const std::vector<double> got = model.llama().forward(model.pack);
  const std::vector<double> expected = Llama(model.config, merged).forward(model.pack);
  const std::vector<double> without = Llama(model.config, model.weights).forward(model.pack);
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], 1e-12 * std::abs(expected[i]));
    EXPECT_GT(std::abs(got[i] - without[i]), 1e-4);
  }
}

TEST(Lora, IsNoModelToDecodeWith) {
  const Llama llama = Adapted(query_value_up).llama();
  EXPECT_THROW(Decoder decoder(llama), Error);
}

}  // namespace
}  // namespace rrhf::model
