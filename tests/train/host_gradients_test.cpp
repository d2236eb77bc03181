#include "rrhf/train/host_gradients.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "rrhf/core/with_cuda.h"
#include "rrhf/train/trained_model.h"
#include "tests/emulated/gpu.h"
#include "tests/train/small_model.h"

namespace rrhf::train {
namespace {

using testing::small_config;

std::vector<at::Device> devices() {
  std::vector<at::Device> all{at::kCPU, emulated::gpu()};
  if (with_cuda && at::hasCUDA()) all.emplace_back(at::kCUDA);
  return all;
}

// A pass that adds a multiple of `value`, another for each unit, asking for units as Llama::backward() does.
void add_everywhere(model::Gradients& gradients, const model::Units& units, bool tied, double value) {
  model::Weights& slopes = gradients.weights();
  const auto of = [&](std::size_t unit) { return value * static_cast<double>(unit + 1); };
  gradients.need(units.head());
  slopes.final_norm_D.add_(of(units.head()));
  if (!tied) slopes.head_VD.add_(of(units.head()));
  if (!tied) gradients.done(units.head());
  for (std::size_t i = units.layers(); i-- > 0;) {
    const std::size_t unit = model::Units::layer(i);
    gradients.need(unit);
    model::LayerWeights& layer = slopes.layers[i];
    for (at::Tensor* tensor : {&layer.input_norm_D, &layer.qkv_QD, &layer.output_DA, &layer.post_norm_D,
                               &layer.gate_up_2FD, &layer.down_DF}) {
      tensor->add_(of(unit));
    }
    gradients.done(unit);
  }
  gradients.need(model::Units::embedding());
  slopes.embedding_VD.add_(of(0));
  gradients.done(model::Units::embedding());
}

TEST(HostGradients, PassesAddUpAndStepsBeginAnew) {
  for (const at::Device device : devices()) {
    for (const bool tied : {false, true}) {
      const ModelParts model(small_config(tied), 1, 0);
      const std::vector<at::Tensor> parts = model.zeros(at::TensorOptions().pinned_memory(device.is_cuda()));
      HostGradients gradients(model, parts, device);
      for (const double expected : {7.0, 70.0}) {
        gradients.begin_step();
        for (const double share : {0.5, 0.3, 0.2})
          add_everywhere(gradients, model::Units(small_config(tied)), tied, expected * share);
        gradients.finish();
        for (std::size_t unit = 0; unit < parts.size(); ++unit) {
          emulated::host_reads(parts[unit]);
          for (const Slice& slice : model.slices(unit, parts[unit])) {
            const at::Tensor apart = (slice.values - expected * static_cast<double>(unit + 1)).abs();
            EXPECT_LE(apart.max().item<double>(), 1e-4) << device << (tied ? " tied" : "") << " unit " << unit;
          }
        }
      }
      gradients.begin_step();
      gradients.finish();
      for (const at::Tensor& part : parts) EXPECT_EQ(part.abs().max().item<double>(), 0) << "nothing was added";
      EXPECT_EQ(emulated::races(), std::vector<std::string>());
    }
  }
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

TEST(HostGradients, AModelOnAGpuLearnsTheSame) {
  if (!with_cuda || !at::hasCUDA()) GTEST_SKIP() << "no GPU, or a build without CUDA";
  const distributed::World world;
  const Groups groups = make_groups({}, world);
  const auto trained = [&](bool on_host, Masters masters, Moments moments) {
    const auto options = at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA);
    TrainedModel model(small_config(false), options, {.masters = masters, .moments = moments, .on_host = on_host},
                       groups, {.type = at::kBFloat16});
    model.initialize(1);
    for (int step = 0; step < 3; ++step) {
      model.begin_step(1e-2);
      for (int pass = 0; pass < 2; ++pass) {
        add_everywhere(model.gradients(), model::Units(small_config(false)), false, step == 1 ? -0.25 : 0.5);
      }
      model.gradients().finish();
      model.update(model.gradient_norm(), 1);
    }
    std::vector<at::Tensor> all;
    for (std::size_t unit = 0; unit < 4; ++unit) {
      for (const at::Tensor& tensor : model.tensors().masters.whole(unit))
        all.push_back(tensor.to(at::kCPU, at::kFloat).flatten());
    }
    return at::cat(all);
  };
  for (const Moments moments : {Moments::float32, Moments::bfloat16, Moments::eight_bit}) {
    const at::Tensor here = trained(false, Masters::float32, moments), there = trained(true, Masters::float32, moments);
    EXPECT_LE(largest_difference(here, there), moments == Moments::float32 ? 1e-6 : 4e-3);
    const at::Tensor rounded = trained(true, Masters::none, moments);
    EXPECT_LE((here - rounded).abs().mean().item<double>(), 2e-3);
  }
}

}  // namespace
}  // namespace rrhf::train
