// Training with state, gradients and layers' inputs on the host: on an emulated GPU, whose operations are held against
// an order, beside the CPU.
#include <gtest/gtest.h>

#include "tests/emulated/gpu.h"
#include "tests/train/small_training.h"

namespace rrhf::train {
namespace {

using testing::Form;
using testing::Outcome;
using testing::trained;

TEST(EmulatedTraining, IsThatOfTheCpuAndInOrder) {
  for (const bool tied : {false, true}) {
    for (const bool on_host : {false, true}) {
      for (const Place layer_inputs : {Place::device, Place::host}) {
        const Form form{.tied = tied, .optimizer = {.on_host = on_host}, .layer_inputs = layer_inputs};
        const Outcome here = trained(at::kCPU, form), there = trained(emulated::gpu(), form);
        for (std::size_t step = 0; step < here.losses.size(); ++step) {
          EXPECT_NEAR(there.losses[step], here.losses[step], 1e-10) << "step " << step;
        }
        EXPECT_LT(here.losses.back(), here.losses.front());
        EXPECT_LE((here.masters - there.masters).abs().max().item<double>(), 1e-10);
        EXPECT_EQ(emulated::races(), std::vector<std::string>())
            << (tied ? "tied, " : "") << (on_host ? "state on the host, " : "")
            << (layer_inputs == Place::host ? "inputs on the host" : "");
      }
    }
  }
}

TEST(EmulatedTraining, AdaptersLearnWhatTheyLearnOnTheCpu) {
  for (const Place layer_inputs : {Place::device, Place::host}) {
    Form form;
    form.optimizer = {};
    form.layer_inputs = layer_inputs;
    form.lora = LoraOptions{.rank = 2, .alpha = 8};
    const Outcome here = trained(at::kCPU, form), there = trained(emulated::gpu(), form);
    for (std::size_t step = 0; step < here.losses.size(); ++step) {
      EXPECT_NEAR(there.losses[step], here.losses[step], 1e-10) << "step " << step;
    }
    EXPECT_LT(here.losses.back(), here.losses.front());
    EXPECT_LE((here.masters - there.masters).abs().max().item<double>(), 1e-10);
    EXPECT_EQ(emulated::races(), std::vector<std::string>());
  }
}

TEST(EmulatedTraining, OnTheHostLeavesTheBytesOfTheDevice) {
  for (const Masters masters : {Masters::float32, Masters::none}) {
    for (const Moments moments : {Moments::float32, Moments::bfloat16, Moments::eight_bit}) {
      const Form form{.type = at::kBFloat16, .optimizer = {.masters = masters, .moments = moments, .on_host = true}};
      const Outcome there = trained(emulated::gpu(), form);
      Form on_device = form;
      on_device.optimizer.on_host = false;
      const Outcome expected = trained(emulated::gpu(), on_device);
      EXPECT_EQ(there.losses, expected.losses);
      EXPECT_TRUE(at::equal(there.masters, expected.masters));
      EXPECT_LT(there.losses.back(), there.losses.front());
      EXPECT_EQ(emulated::races(), std::vector<std::string>());
    }
  }
}

// What the memory plan counts (memory_plan.cpp): three units' gradients, four with a tied head.
TEST(EmulatedTraining, HoldsAFewUnitsGradientsOnTheDevice) {
  const auto peak_of = [](const Form& form, PartBytes& bytes) {
    emulated::take_peak();
    bytes = trained(emulated::gpu(), form).bytes;
    return emulated::take_peak();
  };
  for (const bool tied : {false, true}) {
    const Form on_host{.tied = tied, .optimizer = {.on_host = true}, .layer_inputs = Place::device};
    Form on_device = on_host;
    on_device.optimizer.on_host = false;
    PartBytes bytes, unused;
    const std::int64_t with_state = peak_of(on_device, bytes), with_rooms = peak_of(on_host, unused);
    const std::int64_t rooms = with_rooms - (with_state - bytes.gradients - bytes.optimizer);
    const ModelParts model(testing::deep_config(tied), 1, 0);
    const std::int64_t unit = 8 * distributed::largest(model.zeros(at::kDouble));
    EXPECT_LE(rooms, (tied ? 4 : 3) * unit);
    EXPECT_GT(rooms, (tied ? 3 : 2) * unit);
  }
}

}  // namespace
}  // namespace rrhf::train
