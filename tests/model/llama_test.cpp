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
  Gradients gradients(zero_weights(config, at::TensorOptions().dtype(at::kDouble)));
  Activations saved;
  llama.forward(pack, &saved);
  llama.backward(pack, coefficients, saved, gradients);

  const auto parameters = llama.weights().tensors();
  const auto slopes = gradients.weights().tensors();
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

TEST(Llama, GradientsEqualNumericalSlopesWithSomeProbabilitiesKept) {
  for (const std::int64_t kept : {2, 4}) {  // fewer than a chunk, and more
    expect_numerical_gradients(small_config(false, 3), {.chunk_bytes = 3 * 13 * 8, .kept_bytes = kept * 13 * 8});
  }
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

// Keeps one unit's tensors at a time and records what it was asked for.
class OneUnitParameters : public Parameters {
 public:
  OneUnitParameters(const LlamaConfig& config, Weights whole)
      : Parameters(whole.embedding_VD.options()), config_(config), units_(config), whole_(std::move(whole)) {
    tensor_places(weights_, config_);
  }
  void need(std::size_t unit, std::optional<std::size_t> next) override {
    if (announced_) {
      EXPECT_EQ(unit, *announced_);
    }
    announced_ = next;
    asked.push_back(unit);
    for (at::Tensor* place : tensor_places(weights_, config_)) place->reset();
    for (const std::size_t i : units_.tensors(unit)) *tensor_places(weights_, config_)[i] = whole_.tensors()[i];
  }
  std::vector<std::size_t> asked;

 private:
  LlamaConfig config_;
  Units units_;
  Weights whole_;
  std::optional<std::size_t> announced_;
};

// The same for gradients: a unit's tensors are there from need() to done().
class OneUnitGradients : public Gradients {
 public:
  explicit OneUnitGradients(const LlamaConfig& config)
      : config_(config), units_(config), whole_(zero_weights(config, at::TensorOptions().dtype(at::kDouble))) {
    tensor_places(weights_, config_);
  }
  void need(std::size_t unit) override {
    for (const std::size_t i : units_.tensors(unit)) *tensor_places(weights_, config_)[i] = whole_.tensors()[i];
  }
  void done(std::size_t unit) override {
    finished.push_back(unit);
    for (const std::size_t i : units_.tensors(unit)) tensor_places(weights_, config_)[i]->reset();
  }
  const Weights& whole() const { return whole_; }
  std::vector<std::size_t> finished;

 private:
  LlamaConfig config_;
  Units units_;
  Weights whole_;
};

TEST(Units, APassAsksForThemInOrderAndUsesNoOther) {
  const Queries queries;
  const Pack pack = make_pack(queries.inputs(), at::kCPU);
  const std::vector<double> coefficients{0.7, -1.3, 0.4, 2};
  for (const bool tied : {false, true}) {
    const LlamaConfig config = small_config(tied, 3);
    const Llama whole = small_llama(config);
    Gradients expected(zero_weights(config, at::TensorOptions().dtype(at::kDouble)));
    Activations saved;
    whole.forward(pack, &saved);
    whole.backward(pack, coefficients, saved, expected);

    const auto parameters = std::make_shared<OneUnitParameters>(config, whole.weights());
    const Llama llama(config, parameters);
    OneUnitGradients gradients(config);
    EXPECT_EQ(llama.forward(pack, &saved), whole.forward(pack));
    llama.backward(pack, coefficients, saved, gradients);
    const std::size_t head = tied ? 0 : 3;  // two layers
    EXPECT_EQ(parameters->asked, (std::vector<std::size_t>{0, 1, 2, head, head, 2, 1}));
    EXPECT_EQ(gradients.finished, tied ? (std::vector<std::size_t>{2, 1, 0}) : (std::vector<std::size_t>{3, 2, 1, 0}));
    const auto got = gradients.whole().tensors(), want = expected.weights().tensors();
    for (std::size_t i = 0; i < want.size(); ++i) EXPECT_TRUE(at::equal(got[i], want[i])) << i;

    const auto asked = std::exchange(parameters->asked, {});
    const auto finished = std::exchange(gradients.finished, {});
    llama.idle_forward();
    llama.idle_backward(gradients);
    EXPECT_EQ(parameters->asked, asked);
    EXPECT_EQ(gradients.finished, finished);
  }
}

TEST(Weights, TheNamedPartsOfTensorsAreTheirRows) {
  const LlamaConfig config = small_config(false, 2);
  Weights weights = empty_weights(config, at::TensorOptions().dtype(at::kFloat));
  initialize(weights, config, 1);
  const auto named = named_parts(2, weights.tensors()[2], config);  // query, key, value of the first layer
  ASSERT_EQ(named.size(), 3u);
  EXPECT_EQ(named[1].name, "model.layers.0.self_attn.k_proj.weight");
  EXPECT_EQ(named[1].view.sizes(), (at::IntArrayRef{8, 12}));  // 2 heads of 4
  EXPECT_EQ(named[1].view.storage_offset(), 24 * 12);          // behind 6 heads of 4
  EXPECT_EQ(named_parts(14, weights.tensors()[14], config).front().name, "lm_head.weight");
}

TEST(ParkedInputs, GiveTheSameGradients) {
  const LlamaConfig config = small_config(false, 2);
  const Queries queries;
  const Llama llama = small_llama(config);
  const Pack pack = make_pack(queries.inputs(), at::kCPU);
  const std::vector<double> coefficients{0.7, -1.3, 0.4, 2};
  ParkedInputs parked(at::kCPU);
  std::vector<std::vector<at::Tensor>> results;
  for (ParkedInputs* place : {static_cast<ParkedInputs*>(nullptr), &parked}) {
    Gradients gradients(zero_weights(config, at::TensorOptions().dtype(at::kDouble)));
    Activations saved{.recompute = Recompute::layer, .parked = place};
    llama.forward(pack, &saved);
    EXPECT_EQ(parked.empty(), place == nullptr);
    llama.backward(pack, coefficients, saved, gradients);
    EXPECT_TRUE(parked.empty());
    results.push_back(gradients.weights().tensors());
  }
  for (std::size_t i = 0; i < results[0].size(); ++i) EXPECT_TRUE(results[0][i].equal(results[1][i])) << i;
}

}  // namespace
}  // namespace rrhf::model
