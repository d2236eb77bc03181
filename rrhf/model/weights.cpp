#include "rrhf/model/weights.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "rrhf/core/error.h"

namespace rrhf::model {

std::vector<at::Tensor> Weights::tensors() const {
  std::vector<at::Tensor> all{embedding_VD};
  for (const LayerWeights& layer : layers) {
    all.insert(all.end(), {layer.input_norm_D, layer.qkv_QD, layer.output_DA, layer.post_norm_D, layer.gate_up_2FD,
                           layer.down_DF});
  }
  all.push_back(final_norm_D);
  if (head_VD.defined()) all.push_back(head_VD);
  return all;
}

std::int64_t Weights::bytes() const {
  std::int64_t sum = 0;
  for (const at::Tensor& tensor : tensors()) sum += static_cast<std::int64_t>(tensor.nbytes());
  return sum;
}

Weights with_tensors(const Weights& like, const std::vector<at::Tensor>& tensors) {
  auto next = tensors.begin();
  Weights weights;
  weights.embedding_VD = *next++;
  for (std::size_t i = 0; i < like.layers.size(); ++i) {
    LayerWeights& layer = weights.layers.emplace_back();
    for (at::Tensor* tensor : {&layer.input_norm_D, &layer.qkv_QD, &layer.output_DA, &layer.post_norm_D,
                               &layer.gate_up_2FD, &layer.down_DF}) {
      *tensor = *next++;
    }
  }
  weights.final_norm_D = *next++;
  if (like.head_VD.defined()) weights.head_VD = *next++;
  return weights;
}

Weights empty_weights(const LlamaConfig& config, at::TensorOptions options) {
  const std::int64_t d = config.hidden_size, f = config.intermediate_size, v = config.vocab_size;
  Weights weights;
  weights.embedding_VD = at::empty({v, d}, options);
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    weights.layers.push_back({.input_norm_D = at::empty({d}, options),
                              .qkv_QD = at::empty({config.qkv_size(), d}, options),
                              .output_DA = at::empty({d, config.attention_size()}, options),
                              .post_norm_D = at::empty({d}, options),
                              .gate_up_2FD = at::empty({2 * f, d}, options),
                              .down_DF = at::empty({d, f}, options)});
  }
  weights.final_norm_D = at::empty({d}, options);
  if (!config.tie_word_embeddings) weights.head_VD = at::empty({v, d}, options);
  return weights;
}

Weights zero_weights(const LlamaConfig& config, at::TensorOptions options) {
  Weights weights = empty_weights(config, options);
  for (at::Tensor& tensor : weights.tensors()) tensor.zero_();
  return weights;
}

void initialize(Weights& weights, const LlamaConfig& config, std::uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  for (const at::Tensor& tensor : weights.tensors()) {
    if (tensor.dim() == 1) {
      tensor.fill_(1);
      continue;
    }
    // Drawn in float32 on the CPU, so that dtype and device do not change what the seed means.
    at::Tensor drawn = at::empty(tensor.sizes(), at::TensorOptions().dtype(at::kFloat));
    tensor.copy_(drawn.normal_(0, config.initializer_range, generator));
  }
}

std::vector<NamedTensor> named_tensors(const Weights& weights, const LlamaConfig& config) {
  const std::int64_t f = config.intermediate_size;
  const std::int64_t query = config.attention_size(), key = config.num_key_value_heads * config.head_dim;
  std::vector<NamedTensor> named{{"model.embed_tokens.weight", weights.embedding_VD}};
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    const LayerWeights& layer = weights.layers[i];
    const std::string prefix = fmt::format("model.layers.{}.", i);
    const auto add = [&](const char* name, const at::Tensor& view) { named.push_back({prefix + name, view}); };
    add("input_layernorm.weight", layer.input_norm_D);
    add("self_attn.q_proj.weight", layer.qkv_QD.narrow(0, 0, query));
    add("self_attn.k_proj.weight", layer.qkv_QD.narrow(0, query, key));
    add("self_attn.v_proj.weight", layer.qkv_QD.narrow(0, query + key, key));
    add("self_attn.o_proj.weight", layer.output_DA);
    add("post_attention_layernorm.weight", layer.post_norm_D);
    add("mlp.gate_proj.weight", layer.gate_up_2FD.narrow(0, 0, f));
    add("mlp.up_proj.weight", layer.gate_up_2FD.narrow(0, f, f));
    add("mlp.down_proj.weight", layer.down_DF);
  }
  named.push_back({"model.norm.weight", weights.final_norm_D});
  if (weights.head_VD.defined()) named.push_back({"lm_head.weight", weights.head_VD});
  return named;
}

at::ScalarType scalar_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::float32:
      return at::kFloat;
    case Dtype::bfloat16:
      return at::kBFloat16;
    case Dtype::float64:
      return at::kDouble;
    case Dtype::float16:
      return at::kHalf;
  }
  throw_error("model", "a dtype that does not exist");
}

}  // namespace rrhf::model
