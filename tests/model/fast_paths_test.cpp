// Each fast path against the plain one, at odd sizes, on every instruction set this machine has.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>

#include "rrhf/model/attention.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/idle_responses.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/plain_attention.h"
#include "rrhf/model/plain_ops.h"
#include "rrhf/model/products.h"
#include "tests/emulated/gpu.h"
#include "tests/model/random_pack.h"

namespace rrhf::model {
namespace {

class FastPaths : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::manual_seed(5); }

  at::TensorOptions options() const { return at::TensorOptions().dtype(GetParam()); }
  at::Tensor normal(at::IntArrayRef shape, double scale = 1) const { return at::randn(shape, options()).mul_(scale); }
  double limit() const { return GetParam() == at::kDouble ? 1e-13 : 3e-6; }

  // max|a - b| / max|b|.
  void expect_close(const at::Tensor& got, const at::Tensor& expected, const char* what) const {
    ASSERT_EQ(got.sizes(), expected.sizes()) << what;
    const double scale = expected.abs().max().item<double>();
    ASSERT_GT(scale, 0) << what;
    EXPECT_LE((got - expected).abs().max().item<double>() / scale, limit()) << what;
  }
};

TEST_P(FastPaths, Norms) {
  for (const auto& [rows, width] : {std::pair{1, 1}, {3, 17}, {129, 33}, {70, 256}}) {
    const at::Tensor weight = normal({width}), x = normal({rows, width}), residual = normal({rows, width});
    const RmsNormed got = rms_norm(x, weight, 1e-5), expected = plain::rms_norm(x, weight, 1e-5);
    expect_close(got.y_TD, expected.y_TD, "y");
    expect_close(got.inverse_rms_T1, expected.inverse_rms_T1, "inverse");
    expect_close(rms_norm_again(x, got.inverse_rms_T1, weight), expected.y_TD, "y again");

    at::Tensor sum = x.clone(), plain_sum = x.clone();
    const RmsNormed added = add_rms_norm(sum, residual, weight, 1e-5);
    expect_close(added.y_TD, plain::add_rms_norm(plain_sum, residual, weight, 1e-5).y_TD, "y of the sum");
    expect_close(sum, plain_sum, "sum");

    const at::Tensor dy = normal({rows, width});
    for (const at::Tensor& around : {at::Tensor(), residual}) {
      at::Tensor dweight = normal({width}), plain_dweight = dweight.clone();
      const at::Tensor inverse = expected.inverse_rms_T1;
      const at::Tensor dx = rms_norm_backward(dy, x, inverse, weight, around, dweight);
      const at::Tensor plain_dx = plain::rms_norm_backward(dy, x, inverse, weight, around, plain_dweight);
      if (width > 1) expect_close(dx, plain_dx, "dx");  // of one column the gradient is zero but for epsilon
      expect_close(dweight, plain_dweight, "dweight");
    }
  }
}

TEST_P(FastPaths, Swiglu) {
  for (const auto& [rows, f] : {std::pair{1, 1}, {5, 7}, {35, 172}}) {
    at::Tensor gate_up = normal({rows, 2 * f}, 4), dy = normal({rows, f});
    expect_close(swiglu(gate_up), plain::swiglu(gate_up), "y");
    at::Tensor plain_gate_up = gate_up.clone(), plain_dy = dy.clone();
    swiglu_backward(gate_up, dy);
    plain::swiglu_backward(plain_gate_up, plain_dy);
    expect_close(gate_up, plain_gate_up, "gradient");
    expect_close(dy, plain_dy, "activation");
  }
}

TEST_P(FastPaths, SwigluOfHugeInputsIsFinite) {
  at::Tensor gate_up = at::tensor({-1000.0, 1000.0, -88.5, 0.0, 1.0, 1.0, 1.0, 1.0}, options()).view({1, 8});
  const at::Tensor y = swiglu(gate_up);
  EXPECT_TRUE(at::isfinite(y).all().item<bool>());
  EXPECT_EQ(y[0][1].item<double>(), 1000.0);
  EXPECT_NEAR(y[0][0].item<double>(), 0.0, 1e-30);
}

TEST_P(FastPaths, Attention) {
  const RandomPack random({{1, 1, 2}, {7, 3, 1, 66, 20}, {130, 65}, {3, 200, 17}});
  const Pack pack = make_pack(random.inputs, at::kCPU);
  for (const auto& [heads, kv_heads, head_dim] : {std::tuple{6, 2, 10}, {4, 4, 16}, {3, 1, 34}, {2, 2, 64}}) {
    const LlamaConfig config = heads_config(heads, kv_heads, head_dim);
    at::Tensor qkv = normal({pack.token_count(), config.qkv_size()});
    const Attended got = attention(qkv, pack, config);
    expect_close(got.out_TA, plain::attention(qkv, pack, config), "out");
    const at::Tensor dout = normal(got.out_TA.sizes());
    expect_close(attention_backward(dout, qkv, got, pack, config), plain::attention_backward(dout, qkv, pack, config),
                 "dqkv");

    at::Tensor plain_qkv = qkv.clone();
    const RotaryTable table = rotary_table(pack, config, GetParam());
    apply_rotary(qkv, table, config, false);
    plain::apply_rotary(plain_qkv, table, config, false);
    expect_close(qkv, plain_qkv, "turned");
    apply_rotary(qkv, table, config, true);
    plain::apply_rotary(plain_qkv, table, config, true);
    expect_close(qkv, plain_qkv, "turned back");
  }
}

// Half a unit in the last place of 8 and of 11 bits, and as much again for what is rounded before it.
double rounding_of(at::ScalarType dtype) { return dtype == at::kBFloat16 ? 1.0 / 256 : 1.0 / 2048; }

class NarrowPaths : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::manual_seed(5); }

  at::Tensor normal(at::IntArrayRef shape) const { return at::randn(shape).to(GetParam()); }

  void expect_rounded(const at::Tensor& got, const at::Tensor& exact, const char* what) const {
    EXPECT_EQ(got.scalar_type(), GetParam()) << what;
    expect_near(got, exact, rounding_of(GetParam()), what);
  }

  // max|a - b| / max|b|.
  static void expect_near(const at::Tensor& got, const at::Tensor& exact, double limit, const char* what) {
    ASSERT_EQ(got.sizes(), exact.sizes()) << what;
    EXPECT_LE((got.to(at::kDouble) - exact).abs().max().item<double>(), limit * exact.abs().max().item<double>())
        << what;
  }
};

TEST_P(NarrowPaths, Attention) {
  const RandomPack random({{1, 1, 2}, {7, 3, 1, 66, 20}, {130, 65}});
  const Pack pack = make_pack(random.inputs, at::kCPU);
  for (const auto& [heads, kv_heads, head_dim] : {std::tuple{6, 2, 10}, {3, 1, 34}}) {
    const LlamaConfig config = heads_config(heads, kv_heads, head_dim);
    const at::Tensor qkv = normal({pack.token_count(), config.qkv_size()}), wide = qkv.to(at::kDouble);
    const Attended got = attention(qkv, pack, config);
    expect_rounded(got.out_TA, plain::attention(wide, pack, config), "out");
    EXPECT_EQ(got.normalizer_TN.scalar_type(), at::kFloat);
    const at::Tensor dout = normal(got.out_TA.sizes());
    expect_rounded(attention_backward(dout, qkv, got, pack, config),
                   plain::attention_backward(dout.to(at::kDouble), wide, pack, config), "dqkv");
  }
}

TEST_P(NarrowPaths, Products) {
  for (const std::int64_t rows : {1, 3, 100, 128, 131, 1024, 1300}) {
    const at::Tensor x = normal({rows, 24}), dy = normal({rows, 40}), weight = normal({40, 24});
    const at::Tensor wide_x = x.to(at::kDouble), wide_dy = dy.to(at::kDouble), wide = weight.to(at::kDouble);
    expect_rounded(project(x, weight), at::mm(wide_x, wide.t()), "y");
    expect_rounded(project_backward(dy, weight), at::mm(wide_dy, wide), "dx");
    const at::Tensor before = at::randn({40, 24});
    at::Tensor gradient = before.clone();
    add_weight_gradient(dy, x, gradient);
    expect_near(gradient - before, at::mm(wide_dy.t(), wide_x), rounding_of(GetParam()), "weight gradient");
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, NarrowPaths, testing::Values(at::kBFloat16, at::kHalf),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

// Products that go to oneDNN on some CPUs, at sizes that fill none of its blocks, into rows that stand apart.
TEST(OneDnn, TakesProductsInFloat32) {
  if (!onednn::is_available()) GTEST_SKIP() << "needs AVX-512, and a LibTorch that exports its products";
  at::manual_seed(7);
  for (const auto& [t, i, o] : {std::tuple{1, 24, 40}, {37, 1, 65}, {131, 770, 513}, {1000, 768, 31}}) {
    const at::Tensor x = at::randn({t, i}), weight = at::randn({o, i}), before = at::randn({o, i});
    const at::Tensor wide = x.to(at::kDouble), exact = at::mm(wide, weight.to(at::kDouble).t());
    const auto error = [](const at::Tensor& got, const at::Tensor& want) {
      return (got.to(at::kDouble) - want).abs().max().item<double>() / want.abs().max().item<double>();
    };
    const at::Tensor room = at::full({t, o + 3}, 7.0F), y = room.narrow(1, 0, o);
    onednn::product(x, weight.t(), y, 0);
    EXPECT_LE(error(y, exact), 1e-6);
    EXPECT_TRUE(room.narrow(1, o, 3).eq(7).all().item<bool>());
    at::Tensor sum = before.clone();
    onednn::product(y.t(), x, sum, 1);
    EXPECT_LE(error(sum, before + at::mm(y.to(at::kDouble).t(), wide)), 1e-6);
  }
}

// Large enough to go where this CPU's large products go. Sums of 600 products in float32: some 24 units of rounding.
TEST(Products, OfLargeMatricesAreThoseOfFloat64) {
  at::manual_seed(9);
  const std::int64_t t = 301, i = 515, o = 613;
  const at::Tensor x = at::randn({t, i}), dy = at::randn({t, o}), weight = at::randn({o, i});
  const at::Tensor wide_x = x.to(at::kDouble), wide_dy = dy.to(at::kDouble), wide = weight.to(at::kDouble);
  const auto expect_near = [](const at::Tensor& got, const at::Tensor& exact) {
    EXPECT_LE((got.to(at::kDouble) - exact).abs().max().item<double>(), 3e-6 * exact.abs().max().item<double>());
  };
  expect_near(project(x, weight), at::mm(wide_x, wide.t()));
  expect_near(project_backward(dy, weight), at::mm(wide_dy, wide));
  at::Tensor gradient = weight.clone();
  add_weight_gradient(dy, x, gradient);
  expect_near(gradient, wide + at::mm(wide_dy.t(), wide_x));
}

TEST(Products, FewKernelsAreKeptUnlessTheEnvironmentSaysHowMany) {
  ::setenv("LRU_CACHE_CAPACITY", "7", 1);
  ::unsetenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY");
  keep_few_kernels();
  EXPECT_STREQ(std::getenv("LRU_CACHE_CAPACITY"), "7");
  EXPECT_STREQ(std::getenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY"), std::to_string(kernels_kept).c_str());
}

// By the kernel's word instead of the CPU's.
TEST(OneDnn, IsPreferredFromZen5On) {
  std::ifstream file("/proc/cpuinfo");
  bool amd = false;
  int family = 0;
  for (std::string line; std::getline(file, line);) {
    amd = amd || line.ends_with(": AuthenticAMD");
    if (line.starts_with("cpu family")) family = std::stoi(line.substr(line.find(':') + 1));
  }
  EXPECT_EQ(prefers_onednn(), onednn::is_available() && amd && family >= 26);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FastPaths, testing::Values(at::kFloat, at::kDouble),
                         [](const auto& info) { return std::string(at::toString(info.param)); });

template <class T>
void expect_same_on_every_instruction_set() {
  constexpr std::int64_t m = 21, k = 13, n = 45;
  std::mt19937 engine(3);
  std::normal_distribution<double> draw;
  const auto values = [&](std::int64_t count) {
    std::vector<T> result;
    for (std::int64_t i = 0; i < count; ++i) result.push_back(static_cast<T>(draw(engine)));
    return result;
  };
  const std::vector<T> a = values(m * k), b = values(k * n), c = values(m * n);
  for (const char* name : {"avx512", "avx2", "baseline"}) {
    const cpu::Kernels<T>* kernels = cpu::kernels_named<T>(name);
    if (kernels == nullptr) continue;
    EXPECT_STREQ(kernels->name, name);
    for (const bool accumulate : {false, true}) {
      std::vector<T> got = c, transposed = c;
      kernels->small_product({a.data(), k, 1}, b.data(), n, got.data(), n, m, k, n, accumulate);
      kernels->small_product({a.data(), 1, m}, b.data(), n, transposed.data(), n, m, k, n, accumulate);
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          double sum = accumulate ? c[i * n + j] : 0, sum_transposed = sum;
          for (std::int64_t s = 0; s < k; ++s) {
            sum += static_cast<double>(a[i * k + s]) * b[s * n + j];
            sum_transposed += static_cast<double>(a[s * m + i]) * b[s * n + j];
          }
          const double limit = sizeof(T) == 4 ? 1e-5 : 1e-13;
          EXPECT_NEAR(got[i * n + j], sum, limit) << name;
          EXPECT_NEAR(transposed[i * n + j], sum_transposed, limit) << name;
        }
      }
    }
    // exp over its range, through log_normalizers: rows (0, x) give exp(x) / (1 + exp(x)).
    for (double x = -80; x <= 80; x += 0.37) {
      std::array<T, 2> row{T(0), static_cast<T>(x)};
      T normalizer = 0;
      kernels->log_normalizers(row.data(), 2, 1, 2, &normalizer, true);
      const double narrowed = static_cast<T>(x), expected = 1 / (1 + std::exp(-narrowed));
      EXPECT_NEAR(row[1] / expected, 1, sizeof(T) == 4 ? 5e-7 : 1e-15) << name << " exp at " << x;
      const double log_sum = std::max(narrowed, 0.0) + std::log1p(std::exp(-std::abs(narrowed)));
      const double scale = std::max(1.0, log_sum);  // of log(1 + small) only the absolute error can be small
      EXPECT_NEAR(normalizer / scale, log_sum / scale, sizeof(T) == 4 ? 5e-7 : 1e-15) << name << " normalizer at " << x;
    }
  }
}

TEST(CpuKernels, FloatAgreesOnEveryInstructionSet) { expect_same_on_every_instruction_set<float>(); }
TEST(CpuKernels, DoubleAgreesOnEveryInstructionSet) { expect_same_on_every_instruction_set<double>(); }

TEST(CpuKernels, ANotANumberIsSeen) {
  for (const char* name : {"avx512", "avx2", "baseline"}) {
    const cpu::Kernels<float>* kernels = cpu::kernels_named<float>(name);
    if (kernels == nullptr) continue;
    std::array<float, 19> row{};
    row[7] = std::nanf("");
    float normalizer = 0;
    kernels->log_normalizers(row.data(), 19, 1, 19, &normalizer, true);
    EXPECT_TRUE(std::isnan(normalizer)) << name;
  }
}

// --- idle responses -------------------------------------------------------------------------------------------------

struct BothGradients {
  std::vector<at::Tensor> dense, active;
};

// Of all rows with everything kept, and of the active rows, kept or computed again.
BothGradients gradients_of(const RandomPack& random, const std::vector<double>& coefficients, HeadBudget budget,
                           Recompute recompute = Recompute::none, at::Device device = at::kCPU) {
  const LlamaConfig config = heads_config(4, 2, 6);
  const auto options = at::TensorOptions().dtype(at::kDouble).device(device);
  Weights weights = empty_weights(config, options);
  initialize(weights, config, 3);
  const Llama llama(config, std::move(weights), budget);
  const Pack pack = make_pack(random.inputs, device);
  Gradients dense(zero_weights(config, options)), active(zero_weights(config, options));
  Activations saved;
  llama.forward(pack, &saved);
  llama.backward(pack, coefficients, saved, dense);
  Activations again{.recompute = recompute};
  llama.forward(pack, &again);
  const ActivePart part = drop_idle_responses(random.inputs, pack, coefficients, again);
  EXPECT_LT(part.pack.token_count(), pack.token_count());
  if (!part.empty()) llama.backward(part.pack, part.coefficients, again, active);
  return {dense.weights().tensors(), active.weights().tensors()};
}

TEST(IdleResponses, LeaveTheGradientAsItIs) {
  const RandomPack random({{5, 4, 9, 1}, {3, 2, 6}, {8, 30, 2}});
  for (const HeadBudget budget :
       {HeadBudget{}, HeadBudget{.chunk_bytes = 5 * 37 * 8, .kept_bytes = 0}, HeadBudget{.chunk_bytes = 5 * 37 * 8},
        HeadBudget{.chunk_bytes = 5 * 37 * 8, .kept_bytes = 23 * 37 * 8}}) {
    for (const std::vector<double>& coefficients :
         {std::vector<double>{0.5, 0, -1, 0, 0, 0, 2}, {0, 1, 0, 1, 1, 1, 0}, {0, 0, 0, 0, 0, 0, -3}}) {
      const auto [dense, active] = gradients_of(random, coefficients, budget);
      const auto [there, active_there] = gradients_of(random, coefficients, budget, Recompute::none, emulated::gpu());
      for (std::size_t i = 0; i < dense.size(); ++i) {
        const double limit = 1e-13 * dense[i].abs().max().item<double>();
        EXPECT_LE((dense[i] - active[i]).abs().max().item<double>(), limit);
        EXPECT_LE((there[i] - active_there[i]).abs().max().item<double>(), limit);
        EXPECT_LE((there[i].to(at::kCPU) - dense[i]).abs().max().item<double>(), limit);
      }
    }
  }
}

TEST(Recompute, GivesTheSameGradient) {
  const RandomPack random({{5, 4, 9, 1}, {3, 2, 6}, {8, 30, 2}});
  const std::vector<double> coefficients{0.5, 0, -1, 0, 0, 0, 2};
  for (const at::Device device : {at::Device(at::kCPU), emulated::gpu()}) {
    for (const Recompute recompute : {Recompute::mlp, Recompute::layer}) {
      const auto [dense, again] = gradients_of(random, coefficients, {}, recompute, device);
      for (std::size_t i = 0; i < dense.size(); ++i) {
        EXPECT_LE((dense[i] - again[i]).abs().max().item<double>(), 1e-13 * dense[i].abs().max().item<double>());
      }
    }
  }
}

TEST(IdleResponses, MayBeAll) {
  const auto [dense, active] = gradients_of(RandomPack({{5, 4}, {3, 2, 6}}), {0, 0, 0}, {});
  for (const at::Tensor& gradient : dense) EXPECT_EQ(gradient.abs().max().item<double>(), 0);
  for (const at::Tensor& gradient : active) EXPECT_EQ(gradient.abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace rrhf::model
