// A GPU's kernels against the plain operations in float64 on the CPU, and the whole model.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/core/with_cuda.h"
#include "rrhf/model/attention.h"
#include "rrhf/model/cuda_ops.h"
#include "rrhf/model/llama.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/plain_attention.h"
#include "rrhf/model/plain_ops.h"
#include "tests/model/random_pack.h"

namespace rrhf::model {
namespace {

class Gpu : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (!with_cuda || !at::hasCUDA()) GTEST_SKIP() << "no GPU, or a build without CUDA: its kernels are not run";
    at::manual_seed(5);
  }

  // Random numbers that the dtype has, on the CPU in float64.
  at::Tensor normal(at::IntArrayRef shape, double scale = 1) const {
    return at::randn(shape).mul_(scale).to(GetParam()).to(at::kDouble);
  }
  at::Tensor there(const at::Tensor& x) const { return x.to(at::TensorOptions().dtype(GetParam()).device(at::kCUDA)); }

  // Half a unit in the last place, and as much again for what was rounded before.
  double limit() const {
    if (GetParam() == at::kFloat) return 3e-6;
    return GetParam() == at::kBFloat16 ? 1.0 / 128 : 1.0 / 1024;
  }

  void expect_close(const at::Tensor& got, const at::Tensor& exact, const char* what) const {
    ASSERT_TRUE(got.is_cuda()) << what;
    ASSERT_EQ(got.sizes(), exact.sizes()) << what;
    const double apart = (got.to(at::kCPU, at::kDouble) - exact).abs().max().item<double>();
    EXPECT_LE(apart, limit() * exact.abs().max().item<double>()) << what;  // false for NaN
  }
};

TEST_P(Gpu, Norms) {
  for (const auto& [rows, width] : {std::pair{1, 8}, {3, 24}, {129, 40}, {70, 256}, {300, 4096}, {9, 8192}}) {
    const at::Tensor weight = normal({width}), x = normal({rows, width}), residual = normal({rows, width});
    const RmsNormed got = rms_norm(there(x), there(weight), 1e-5), exact = plain::rms_norm(x, weight, 1e-5);
    expect_close(got.y_TD, exact.y_TD, "y");
    EXPECT_LE(((got.inverse_rms_T1.to(at::kCPU, at::kDouble) / exact.inverse_rms_T1) - 1).abs().max().item<double>(),
              1e-5);
    expect_close(rms_norm_again(there(x), got.inverse_rms_T1, there(weight)), exact.y_TD, "y again");

    at::Tensor sum = there(x), exact_sum = x.clone();
    expect_close(add_rms_norm(sum, there(residual), there(weight), 1e-5).y_TD,
                 plain::add_rms_norm(exact_sum, residual, weight, 1e-5).y_TD, "y of the sum");
    expect_close(sum, exact_sum, "sum");

    const at::Tensor dy = normal({rows, width});
    for (const at::Tensor& around : {at::Tensor(), residual}) {
      at::Tensor dweight = at::ones({width}, at::TensorOptions().dtype(at::kFloat).device(at::kCUDA));
      at::Tensor exact_dweight = at::ones({width}, at::kDouble);
      const at::Tensor dx = rms_norm_backward(there(dy), there(x), got.inverse_rms_T1, there(weight),
                                              around.defined() ? there(around) : around, dweight);
      expect_close(dx, plain::rms_norm_backward(dy, x, exact.inverse_rms_T1, weight, around, exact_dweight), "dx");
      expect_close(dweight, exact_dweight, "dweight");
    }
  }
}

TEST_P(Gpu, Swiglu) {
  for (const auto& [rows, f] : {std::pair{1, 8}, {5, 24}, {35, 176}}) {
    at::Tensor exact_gate_up = normal({rows, 2 * f}, 4), exact_dy = normal({rows, f});
    at::Tensor gate_up = there(exact_gate_up), dy = there(exact_dy);
    expect_close(swiglu(gate_up), plain::swiglu(exact_gate_up), "y");
    swiglu_backward(gate_up, dy);
    plain::swiglu_backward(exact_gate_up, exact_dy);
    expect_close(gate_up, exact_gate_up, "gradient");
    expect_close(dy, exact_dy, "activation");
  }
}

TEST_P(Gpu, SwigluOfHugeInputsIsFinite) {
  const at::Tensor gate_up = there(
      at::tensor({-1000.0, 1000.0, -88.5, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}, at::kDouble)
          .view({1, 16}));
  const at::Tensor y = swiglu(gate_up).to(at::kCPU, at::kDouble);
  EXPECT_TRUE(at::isfinite(y).all().item<bool>());
  EXPECT_EQ(y[0][1].item<double>(), 1000.0);
}

// Rows are gathered 16 bytes at a time, or 4 where they begin between.
TEST_P(Gpu, RowsAreGatheredFromWhereverTheyBegin) {
  if constexpr (with_cuda) {
    const at::Tensor x = normal({7, 24}), index = at::tensor({6, 0, 0, 3}, at::kInt);
    for (const auto& [begin, width] : {std::pair{0, 16}, {8, 16}, {2, 16}, {4, 8}, {0, 2}, {22, 2}}) {
      const at::Tensor y = at::empty({4, width}, at::TensorOptions().dtype(GetParam()).device(at::kCUDA));
      cuda::gather_rows(there(x).narrow(1, begin, width), index.to(at::kCUDA), y);
      EXPECT_TRUE(y.to(at::kCPU, at::kDouble).equal(x.narrow(1, begin, width).index_select(0, index)))
          << begin << " " << width;
    }
  }
}

LlamaConfig gpu_config(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
  LlamaConfig config;
  config.hidden_size = 96;
  config.intermediate_size = 160;
  config.num_hidden_layers = 3;
  config.vocab_size = 701;  // not a multiple of anything, and more than a block's threads
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = head_dim;
  config.initializer_range = 0.1;
  return config;
}

TEST_P(Gpu, AttentionAndRotary) {
  const RandomPack some({{1, 1, 2}, {7, 3, 1, 66, 20}, {130, 65}, {3, 200, 17}, {300, 500, 400}}, 300);
  const Pack pack = make_pack(some.inputs, at::kCPU), gpu_pack = make_pack(some.inputs, at::kCUDA);
  for (const auto& [heads, kv_heads, head_dim] : {std::tuple{6, 2, 32}, {4, 4, 64}, {3, 1, 128}, {2, 2, 16}}) {
    const LlamaConfig config = gpu_config(heads, kv_heads, head_dim);
    const at::Tensor qkv = normal({pack.token_count(), config.qkv_size()});
    const Attended got = attention(there(qkv), gpu_pack, config);
    expect_close(got.out_TA, plain::attention(qkv, pack, config), "out");
    const at::Tensor dout = normal(got.out_TA.sizes());
    const at::Tensor exact = plain::attention_backward(dout, qkv, pack, config);
    for (const bool deterministic : {true, false}) {
      expect_close(attention_backward(there(dout), there(qkv), got, gpu_pack, config, deterministic), exact, "dqkv");
    }
    const at::Tensor first = attention_backward(there(dout), there(qkv), got, gpu_pack, config);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(first.equal(attention_backward(there(dout), there(qkv), got, gpu_pack, config)));
    }

    at::Tensor turned = there(qkv), exact_turned = qkv.clone();
    const RotaryTable table = rotary_table(gpu_pack, config, GetParam()),
                      exact_table = rotary_table(pack, config, at::kDouble);
    apply_rotary(turned, table, config, false);
    plain::apply_rotary(exact_turned, exact_table, config, false);
    expect_close(turned, exact_turned, "turned");
    apply_rotary(turned, table, config, true);
    expect_close(turned, qkv, "turned back");
  }
}

// Log-probs and gradients of a model, in float64 whatever it computes in.
struct Outcome {
  std::vector<double> logprobs;
  std::vector<at::Tensor> gradients;
};

Outcome outcome_of(const Weights& weights, const LlamaConfig& config, const std::vector<PackInput>& inputs,
                   const at::TensorOptions& options, Recompute recompute, HeadBudget budget) {
  const Pack pack = make_pack(inputs, options.device());
  const Llama llama(config, weights, budget);
  Gradients gradients(zero_weights(config, options.dtype(accumulation_type(options.dtype().toScalarType()))));
  Activations saved{.recompute = recompute};
  Outcome outcome{.logprobs = llama.forward(pack, &saved), .gradients = {}};
  std::vector<double> coefficients;
  for (std::size_t i = 0; i < outcome.logprobs.size(); ++i) coefficients.push_back(i % 3 == 0 ? -0.02 : 0.01);
  llama.backward(pack, coefficients, saved, gradients);
  for (const at::Tensor& gradient : gradients.weights().tensors()) {
    outcome.gradients.push_back(gradient.to(at::kCPU, at::kDouble));
  }
  return outcome;
}

TEST_P(Gpu, WholeModelAgainstFloat64OnTheCpu) {
  const RandomPack some({{1, 1, 2}, {7, 3, 1, 66, 20}, {130, 65}, {3, 70, 17}, {40, 20, 20, 20}}, 300);
  for (const bool tied : {false, true}) {
    LlamaConfig config = gpu_config(6, 2, 16);
    config.tie_word_embeddings = tied;
    Weights exact = empty_weights(config, at::TensorOptions().dtype(at::kFloat)), weights = exact;
    initialize(exact, config, 3);
    const auto options = at::TensorOptions().dtype(GetParam()).device(at::kCUDA);
    const auto converted = [&](const at::TensorOptions& to) {
      Weights result = empty_weights(config, to);
      const auto from = exact.tensors(), into = result.tensors();
      for (std::size_t i = 0; i < from.size(); ++i) into[i].copy_(from[i].to(GetParam()));
      return result;
    };
    const auto wide = at::TensorOptions().dtype(at::kDouble);
    const Outcome expected = outcome_of(converted(wide), config, some.inputs, wide, Recompute::none, {});
    for (const Recompute recompute : {Recompute::none, Recompute::mlp, Recompute::layer}) {
      for (const HeadBudget budget : {HeadBudget{}, HeadBudget{.chunk_bytes = 1 << 16, .kept_bytes = 0},
                                      HeadBudget{.chunk_bytes = 1 << 16, .kept_bytes = 3 << 16}}) {
        const Outcome got = outcome_of(converted(options), config, some.inputs, options, recompute, budget);
        const double own = GetParam() == at::kFloat ? 1e-5 : 8 * limit();
        for (std::size_t i = 0; i < got.logprobs.size(); ++i) {
          EXPECT_NEAR(got.logprobs[i] / expected.logprobs[i], 1, own) << "response " << i;
        }
        for (std::size_t i = 0; i < got.gradients.size(); ++i) {
          const double apart =
              ((got.gradients[i] - expected.gradients[i]).norm() / expected.gradients[i].norm()).item<double>();
          EXPECT_LE(apart, own) << "gradient " << i;
        }
      }
    }
    const Outcome first = outcome_of(converted(options), config, some.inputs, options, Recompute::none, {});
    const Outcome second = outcome_of(converted(options), config, some.inputs, options, Recompute::none, {});
    EXPECT_EQ(first.logprobs, second.logprobs);
    for (std::size_t i = 0; i < first.gradients.size(); ++i)
      EXPECT_TRUE(first.gradients[i].equal(second.gradients[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Gpu, testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

}  // namespace
}  // namespace rrhf::model
