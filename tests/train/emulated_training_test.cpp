// Training with state, gradients and layers' inputs on the host: on an emulated GPU, whose operations are held against
// an order, beside the CPU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "rrhf/train/pass.h"
#include "rrhf/train/trained_model.h"
#include "tests/emulated/gpu.h"
#include "tests/train/small_model.h"
#include "tests/train/support.h"

namespace rrhf::train {
namespace {

using testing::query_of;
using testing::set_of;
using testing::small_config;

struct Form {
  bool tied = false;
  at::ScalarType type = at::kDouble;
  optim::AdamWOptions optimizer = {.on_host = true};
  Place layer_inputs = Place::host;
};

struct Outcome {
  std::vector<double> losses;
  std::vector<at::Tensor> masters;
};

// Three steps of three passes each.
Outcome trained(at::Device device, const Form& form) {
  const EncodedSet set = set_of(
      {query_of(2, {2, 1, 3}), query_of(1, {1, 2}), query_of(3, {2, 2}), query_of(2, {1, 1, 1}), query_of(4, {1, 2})});
  const distributed::World world;
  const Groups groups = make_groups({}, world);
  model::LlamaConfig config = small_config(form.tied);
  config.num_hidden_layers = 5;
  config.initializer_range = 0.3;
  TrainedModel model(config, at::TensorOptions().dtype(form.type).device(device), form.optimizer, groups,
                     form.type == at::kBFloat16 ? std::optional(at::kBFloat16) : std::nullopt);
  model.initialize(1);
  const objective::Objective objective({});
  const Pass pass(model.llama(), objective, world,
                  {.tokens_per_pack = 12, .recompute = Recompute::layer, .layer_inputs = form.layer_inputs});
  Outcome outcome;
  for (int step = 0; step < 3; ++step) {
    StepPasses passes(set, {0, 1, 2, 3, 4}, pass.place(), IdlePasses::first);
    EXPECT_EQ(passes.layout().passes, 3u);
    model.zero_gradients();
    StepWork work;
    double loss = 0;
    for (const Totals& query :
         pass.accumulate_gradients([&] { return passes.next().value(); }, model.gradients(), work))
      loss += query.loss;
    outcome.losses.push_back(loss);
    model.update(model.gradient_norm(), 1, 1e-2);
  }
  const checkpoint::TrainingTensors tensors = model.tensors();
  for (std::size_t unit = 0; unit < tensors.masters.units.size(); ++unit) {
    for (const at::Tensor& tensor : tensors.masters.whole(unit))
      outcome.masters.push_back(tensor.to(at::kCPU, at::kDouble).flatten().clone());
  }
  return outcome;
}

TEST(EmulatedTraining, IsThatOfTheCpuAndInOrder) {
  for (const bool tied : {false, true}) {
    for (const bool on_host : {false, true}) {
      for (const Place layer_inputs : {Place::device, Place::host}) {
        const Form form{.tied = tied, .optimizer = {.on_host = on_host}, .layer_inputs = layer_inputs};
        const Outcome here = trained(at::kCPU, form), there = trained(emulated::gpu(), form);
        ASSERT_EQ(here.masters.size(), there.masters.size());
        for (std::size_t step = 0; step < here.losses.size(); ++step) {
          EXPECT_NEAR(there.losses[step], here.losses[step], 1e-10) << "step " << step;
        }
        EXPECT_LT(here.losses.back(), here.losses.front());
        EXPECT_LE((at::cat(here.masters) - at::cat(there.masters)).abs().max().item<double>(), 1e-10);
        EXPECT_EQ(emulated::races(), std::vector<std::string>())
            << (tied ? "tied, " : "") << (on_host ? "state on the host, " : "")
            << (layer_inputs == Place::host ? "inputs on the host" : "");
      }
    }
  }
}

TEST(EmulatedTraining, OfNarrowFormsOnTheHostIsInOrder) {
  for (const Masters masters : {Masters::float32, Masters::none}) {
    for (const Moments moments : {Moments::float32, Moments::bfloat16, Moments::eight_bit}) {
      const Form form{.type = at::kBFloat16, .optimizer = {.masters = masters, .moments = moments, .on_host = true}};
      const Outcome there = trained(emulated::gpu(), form);
      EXPECT_LT(there.losses.back(), there.losses.front());
      EXPECT_EQ(emulated::races(), std::vector<std::string>());
    }
  }
}

}  // namespace
}  // namespace rrhf::train
