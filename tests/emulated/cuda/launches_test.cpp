// How often a GPU is asked to do something while a layer is trained: a small model waits for launches, not for work.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "rrhf/model/llama.h"
#include "rrhf/model/ops.h"
#include "tests/emulated/gpu.h"
#include "tests/model/random_pack.h"

namespace rrhf::model {
namespace {

LlamaConfig config_of(std::int64_t layers) {
  LlamaConfig config;
  config.hidden_size = 96;
  config.intermediate_size = 160;
  config.num_hidden_layers = layers;
  config.vocab_size = 300;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 2;
  config.head_dim = 16;
  return config;
}

struct Launches {
  std::int64_t forward = 0, backward = 0;
};

std::int64_t taken() {
  std::int64_t sum = 0;
  for (const auto& [name, count] : emulated::take_operations()) sum += count;
  return sum;
}

Launches launches(std::int64_t layers, Recompute recompute) {
  const auto options = at::TensorOptions().dtype(at::kBFloat16).device(at::kCUDA);
  const LlamaConfig config = config_of(layers);
  Weights weights = empty_weights(config, options);
  for (at::Tensor& weight : weights.tensors()) weight.fill_(0.01);
  const Llama llama(config, weights);
  const RandomPack some({{1, 1, 2}, {7, 3, 1, 66, 20}, {130, 65}, {40, 20, 20, 20}}, config.vocab_size);
  const Pack pack = make_pack(some.inputs, options.device());
  Gradients gradients(zero_weights(config, options.dtype(at::kFloat)));
  Activations saved{.recompute = recompute};
  taken();
  const std::vector<double> logprobs = llama.forward(pack, &saved);
  const std::int64_t forward = taken();
  llama.backward(pack, std::vector<double>(logprobs.size(), 0.01), saved, gradients);
  return {forward, taken()};
}

TEST(Launches, ALayerTakesFew) {
  const auto layer = [](Recompute recompute) {
    const Launches two = launches(2, recompute), three = launches(3, recompute);
    return Launches{three.forward - two.forward, three.backward - two.backward};
  };
  const Launches kept = layer(Recompute::none), again = layer(Recompute::layer);
  // Forward: four products, two norms, the rotation, keys and values gathered, attention, its normalizers turned,
  // SwiGLU, the residual; two more copies are the emulated attention's own.
  EXPECT_EQ(kept.forward, 14);
  // Backward: eight products, two norms made again, two norms' gradients and their two column sums, SwiGLU, attention
  // (keys gathered, normalizers turned, a mask of dropout, its gradients collected, three copies of the emulation's
  // own), the rotation.
  EXPECT_EQ(kept.backward, 24);
  EXPECT_EQ(again.forward, 14);
  EXPECT_EQ(again.backward, 24 + 11) << "what leads to the last product, again";
}

}  // namespace
}  // namespace rrhf::model
