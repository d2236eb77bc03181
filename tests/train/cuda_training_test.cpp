// Training on a GPU through its kernels, in every form of its memory.
#include <gtest/gtest.h>

#include "rrhf/core/error.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/train/cuda_gpu.h"
#include "rrhf/train/device.h"
#include "rrhf/train/memory_advice.h"
#include "tests/emulated/gpu.h"
#include "tests/train/small_training.h"

namespace rrhf::train {
namespace {

using testing::Form;
using testing::Outcome;
using testing::trained;

class CudaTraining : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!with_cuda || !at::hasCUDA()) GTEST_SKIP() << "no GPU, or a build without CUDA";
  }
  void TearDown() override { EXPECT_EQ(emulated::races(), std::vector<std::string>()); }

  // bfloat16 in packs of a whole step, all of it on the GPU, unless the test says otherwise.
  static Form on_gpu() {
    return {.tied = GetParam(),
            .type = at::kBFloat16,
            .optimizer = {},
            .layer_inputs = Place::device,
            .tokens_per_pack = 1000,
            .max_grad_norm = 0,
            .wide = true};
  }

  static Outcome result_of(const Form& form) { return trained(at::kCUDA, form); }

  static void expect_the_bytes(const Outcome& got, const Outcome& expected) {
    EXPECT_EQ(got.losses, expected.losses);
    EXPECT_EQ(got.norms, expected.norms);
    EXPECT_TRUE(at::equal(got.masters, expected.masters));
  }

  static void expect_near(const Outcome& got, const Outcome& expected, double limit) {
    for (std::size_t step = 0; step < got.losses.size(); ++step) {
      EXPECT_NEAR(got.losses[step] / expected.losses[step], 1, limit) << "step " << step;
      EXPECT_NEAR(got.norms[step] / expected.norms[step], 1, 2 * limit) << "step " << step;
    }
  }

  // But for the last place of bfloat16, which sums in another order or a die take another way now and then.
  static void expect_close(const Outcome& got, const Outcome& expected) {
    expect_near(got, expected, 0.02);
    EXPECT_LE((got.masters - expected.masters).abs().mean().item<double>(), 1e-3);
  }
};

TEST_P(CudaTraining, FollowsTheCpuInFloat64) {
  Form exact = on_gpu();
  exact.type = at::kDouble;
  const Outcome expected = trained(at::kCPU, exact);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Form form = on_gpu();
    form.type = type;
    expect_near(result_of(form), expected, type == at::kFloat ? 1e-4 : 0.02);
  }
  EXPECT_LT(expected.losses.back(), expected.losses.front());
}

TEST_P(CudaTraining, AdaptersFollowTheCpuInFloat64) {
  Form exact = on_gpu();
  exact.type = at::kDouble;
  exact.lora = {.rank = 4, .alpha = 16};
  const Outcome expected = trained(at::kCPU, exact);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Form form = exact;
    form.type = type;
    const Outcome got = result_of(form);
    expect_near(got, expected, type == at::kFloat ? 1e-4 : 0.02);
    expect_the_bytes(result_of(form), got);
  }
  EXPECT_LT(expected.losses.back(), expected.losses.front());
}

TEST_P(CudaTraining, WithInputsOnTheHostLearnsTheSame) {
  for (const std::int64_t tokens_per_pack : {12, 1000}) {
    Form form = on_gpu();
    form.tokens_per_pack = tokens_per_pack;
    const Outcome expected = result_of(form);
    form.layer_inputs = Place::host;  // idle responses then go along, and products have other shapes
    expect_close(result_of(form), expected);
  }
}

TEST_P(CudaTraining, ByLayerLeavesTheBytesOfUpdatesAtTheEnd) {
  for (const Moments moments : {Moments::float32, Moments::bfloat16, Moments::eight_bit}) {
    for (const Place layer_inputs : {Place::device, Place::host}) {
      Form form = on_gpu();
      form.optimizer = {.masters = Masters::none, .moments = moments};
      form.layer_inputs = layer_inputs;
      const Outcome expected = result_of(form);
      form.update = Update::layer;
      expect_the_bytes(result_of(form), expected);
    }
  }
}

TEST_P(CudaTraining, WithStateOnTheHostLearnsTheSame) {
  for (const Masters masters : {Masters::float32, Masters::none}) {
    for (const Moments moments : {Moments::float32, Moments::eight_bit}) {
      Form form = on_gpu();
      form.tokens_per_pack = 12;
      form.max_grad_norm = 1;
      form.optimizer = {.masters = masters, .moments = moments};
      const Outcome expected = result_of(form);
      form.optimizer.on_host = true;
      for (const Place layer_inputs : {Place::device, Place::host}) {
        form.layer_inputs = layer_inputs;
        const Outcome got = result_of(form);
        // The CPU's loops fuse products and sums where the GPU's may not: a last place, and with it a die, now and
        // then.
        for (std::size_t step = 0; step < got.losses.size(); ++step) {
          EXPECT_NEAR(got.losses[step] / expected.losses[step], 1, 0.02) << "step " << step;
        }
        EXPECT_LE((got.masters - expected.masters).abs().mean().item<double>(), 1e-3);
      }
    }
  }
}

TEST_P(CudaTraining, BeyondACapEndsWithWhatWouldSaveMemory) {
  const at::Device gpu(at::kCUDA, 0);
  const std::int64_t all = memory_of(gpu), room = std::int64_t{1} << 29;
  EXPECT_THROW(cap_memory(gpu, all + 1), InputError);
  const Outcome expected = result_of(on_gpu());
  const auto with_cap = [&](std::int64_t bytes, const auto& work) {
    cap_memory(gpu, bytes);
    std::string said;
    try {
      with_memory_advice(work, [] { return std::string("\n  less"); });
    } catch (const Error& error) {
      said = error.what();
    }
    cap_memory(gpu, all);
    return said;
  };
  const auto too_much = [&] { at::empty({2 * room}, at::TensorOptions().device(gpu).dtype(at::kByte)); };
  std::int64_t held = 0;
  if constexpr (with_cuda) held = all - cuda::memory(gpu).free;
  EXPECT_TRUE(with_cap(held + room, too_much).starts_with("[memory] there is too little memory for this\n  less\n"));
  // A step that was cut off leaves nothing behind that a later one would feel.
  if (gpu == emulated::gpu()) {
    emulated::take_peak();
    result_of(on_gpu());
    const std::int64_t most = emulated::take_peak();
    EXPECT_NE(with_cap(most * 2 / 3, [&] { result_of(on_gpu()); }), "");
    EXPECT_EQ(with_cap(most, [&] { result_of(on_gpu()); }), "");
  }
  expect_the_bytes(result_of(on_gpu()), expected);
}

INSTANTIATE_TEST_SUITE_P(Heads, CudaTraining, ::testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "tied" : "apart"); });

}  // namespace
}  // namespace rrhf::train
