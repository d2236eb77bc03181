#include "rrhf/model/llama.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/model/attention.h"

namespace rrhf::model {
namespace {

LlamaConfig small_config(bool tied, std::int64_t kv_heads) {
  LlamaConfig config;
  config.vocab_size = 13;
  config.hidden_size = 12;
  config.intermediate_size = 10;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.num_key_value_heads = kv_heads;
  config.head_dim = 4;  // not hidden_size / heads: a head_dim of its own
  config.tie_word_embeddings = tied;
  config.initializer_range = 0.5;
  return config;
}

Llama small_llama(const LlamaConfig& config, HeadBudget budget = {}) {
  Weights weights = empty_weights(config, at::TensorOptions().dtype(at::kDouble));
  initialize(weights, config, 7);
  weights.final_norm_D.mul_(1.5);
  return {config, std::move(weights), budget};
}

using Ids = std::vector<std::int32_t>;

// Two queries of odd sizes, one response being its EOS alone.
struct Queries {
  Ids prompt_a{1, 4, 5, 6}, a1{7, 8, 2}, a2{2}, a3{9, 2};
  Ids prompt_b{1}, b1{3, 11, 12, 10, 2};
  std::vector<PackInput> inputs() const { return {{prompt_a, {a1, a2, a3}}, {prompt_b, {b1}}}; }
};

// sum of coefficient * log-prob, the quantity backward() differentiates.
double weighted(const Llama& llama, const Pack& pack, std::span<const double> coefficients) {
  const std::vector<double> logprobs = llama.forward(pack);
  double sum = 0;
  for (std::size_t i = 0; i < logprobs.size(); ++i) sum += coefficients[i] * logprobs[i];
  return sum;
}

void expect_numerical_gradients(const LlamaConfig& config, HeadBudget budget) {
  const Queries queries;
  Llama llama = small_llama(config, budget);
  const Pack pack = make_pack(queries.inputs(), at::kCPU);
  const std::vector<double> coefficients{0.7, -1.3, 0.4, 2};
  Weights gradients = zero_weights(config, at::TensorOptions().dtype(at::kDouble));
  Activations saved;
  llama.forward(pack, &saved);
  llama.backward(pack, coefficients, saved, gradients);

  const auto parameters = llama.weights().tensors();
  const auto slopes = gradients.tensors();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor flat = parameters[i].view({-1});
    // A stride coprime to the sizes touches every kind of row.
    for (std::int64_t at = 0; at < flat.numel(); at += 7) {
      constexpr double h = 1e-6;
      const double value = flat[at].item<double>();
      flat[at] = value + h;
      const double up = weighted(llama, pack, coefficients);
      flat[at] = value - h;
      const double down = weighted(llama, pack, coefficients);
      flat[at] = value;
      const double slope = slopes[i].view({-1})[at].item<double>();
      ASSERT_NEAR(slope, (up - down) / (2 * h), 1e-7 * std::max(1.0, std::abs(slope)))
          << "tensor " << i << " at " << at;
    }
  }
}

TEST(Llama, GradientsEqualNumericalSlopes) { expect_numerical_gradients(small_config(false, 6), {}); }

TEST(Llama, GradientsEqualNumericalSlopesWithGroupedQueriesAndTiedHead) {
  expect_numerical_gradients(small_config(true, 2), {});
}

TEST(Llama, GradientsEqualNumericalSlopesWithRecomputedProbabilitiesInSmallChunks) {
  expect_numerical_gradients(small_config(false, 3), {.chunk_bytes = 3 * 13 * 8, .kept_bytes = 0});
}

TEST(Llama, AResponseSeesItsPromptAndItselfAlone) {
  // Each response on its own has the log-prob it has among the others.
  const Queries queries;
  const LlamaConfig config = small_config(false, 3);
  const Llama llama = small_llama(config);
  const std::vector<double> together = llama.forward(make_pack(queries.inputs(), at::kCPU));
  std::vector<double> alone;
  for (const PackInput& query : queries.inputs()) {
    for (const auto& response : query.responses) {
      alone.push_back(llama.forward(make_pack(std::vector<PackInput>{{query.prompt, {response}}}, at::kCPU)).front());
    }
  }
  ASSERT_EQ(together.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(together[i], alone[i], 1e-12) << i;
}

TEST(Llama, LogprobsAreThoseOfItsLogits) {
  const Queries queries;
  const LlamaConfig config = small_config(false, 6);
  const Llama llama = small_llama(config);
  const Pack pack = make_pack(std::vector<PackInput>{{queries.prompt_a, {queries.a1}}}, at::kCPU);
  const at::Tensor logprobs = at::log_softmax(llama.logits(pack), 1);
  // Rows 3, 4, 5 predict 7, 8, 2.
  const double expected = logprobs[3][7].item<double>() + logprobs[4][8].item<double>() + logprobs[5][2].item<double>();
  EXPECT_NEAR(llama.forward(pack).front(), expected, 1e-12);
}

TEST(Llama, Float32AndBfloat16FollowFloat64) {
  const Queries queries;
  const LlamaConfig config = small_config(false, 2);
  const Llama exact = small_llama(config);
  const Pack pack = make_pack(queries.inputs(), at::kCPU);
  const std::vector<double> expected = exact.forward(pack);
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, std::pair{at::kBFloat16, 0.1}}) {
    Weights weights = empty_weights(config, at::TensorOptions().dtype(dtype));
    const auto from = exact.weights().tensors(), to = weights.tensors();
    for (std::size_t i = 0; i < from.size(); ++i) to[i].copy_(from[i]);
    const std::vector<double> logprobs = Llama(config, weights).forward(pack);
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(logprobs[i], expected[i], tolerance * std::abs(expected[i]));
  }
}

TEST(Initialize, TheSeedAloneDecides) {
  const LlamaConfig config = small_config(false, 6);
  Weights a = empty_weights(config, at::TensorOptions().dtype(at::kDouble)),
          b = empty_weights(config, at::TensorOptions().dtype(at::kFloat));
  initialize(a, config, 3);
  initialize(b, config, 3);
  EXPECT_TRUE(at::equal(a.head_VD.to(at::kFloat), b.head_VD));
  initialize(b, config, 4);
  EXPECT_FALSE(at::equal(a.head_VD.to(at::kFloat), b.head_VD));
}

TEST(NamedTensors, AreViewsUnderTheNamesOfTheFormat) {
  const LlamaConfig config = small_config(true, 2);
  Weights weights = zero_weights(config, at::TensorOptions().dtype(at::kFloat));
  const auto named = named_tensors(weights, config);
  EXPECT_EQ(named.size(), 1 + 2 * 9 + 1u);  // tied: no lm_head
  for (const NamedTensor& tensor : named) {
    at::Tensor view = tensor.view;
    view.fill_(1);
  }
  for (const at::Tensor& tensor : weights.tensors()) EXPECT_TRUE(at::all(tensor == 1).item<bool>());
}

}  // namespace
}  // namespace rrhf::model
