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

std::vector<at::Tensor*> tensor_places(Weights& weights, const LlamaConfig& config) {
  weights.layers.resize(static_cast<std::size_t>(config.num_hidden_layers));
  std::vector<at::Tensor*> places{&weights.embedding_VD};
  for (LayerWeights& layer : weights.layers) {
    places.insert(places.end(), {&layer.input_norm_D, &layer.qkv_QD, &layer.output_DA, &layer.post_norm_D,
                                 &layer.gate_up_2FD, &layer.down_DF});
  }
  places.push_back(&weights.final_norm_D);
  if (!config.tie_word_embeddings) places.push_back(&weights.head_VD);
  return places;
}

std::vector<std::vector<std::int64_t>> tensor_shapes(const LlamaConfig& config) {
  const std::int64_t d = config.hidden_size, f = config.intermediate_size, v = config.vocab_size;
  std::vector<std::vector<std::int64_t>> shapes{{v, d}};
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    shapes.insert(shapes.end(), {{d}, {config.qkv_size(), d}, {d, config.attention_size()}, {d}, {2 * f, d}, {d, f}});
  }
  shapes.push_back({d});
  if (!config.tie_word_embeddings) shapes.push_back({v, d});
  return shapes;
}

Weights empty_weights(const LlamaConfig& config, at::TensorOptions options) {
  Weights weights;
  const auto places = tensor_places(weights, config);
  const auto shapes = tensor_shapes(config);
  for (std::size_t i = 0; i < places.size(); ++i) *places[i] = at::empty(shapes[i], options);
  return weights;
}

Weights zero_weights(const LlamaConfig& config, at::TensorOptions options) {
  Weights weights = empty_weights(config, options);
  for (at::Tensor& tensor : weights.tensors()) tensor.zero_();
  return weights;
}

void draw_initial(const LlamaConfig& config, std::uint64_t seed,
                  const std::function<void(std::size_t, const at::Tensor&)>& take) {
  auto generator = at::detail::createCPUGenerator(seed);
  const auto shapes = tensor_shapes(config);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    // Drawn in float32 on the CPU, so that dtype and device do not change what the seed means.
    at::Tensor value = at::empty(shapes[i], at::TensorOptions().dtype(at::kFloat));
    take(i, value.dim() == 1 ? value.fill_(1) : value.normal_(0, config.initializer_range, generator));
  }
}

void initialize(Weights& weights, const LlamaConfig& config, std::uint64_t seed) {
  const auto places = tensor_places(weights, config);
  draw_initial(config, seed, [&](std::size_t i, const at::Tensor& value) { places[i]->copy_(value); });
}

namespace {

std::string layer_prefix(std::size_t layer) { return fmt::format("model.layers.{}.", layer); }

// Query, key and value, or gate and up: the row counts of what a tensor of a layer holds.
struct NamedRows {
  const char* name;
  std::int64_t rows;
};

std::vector<NamedRows> named_rows(std::size_t tensor_of_layer, const at::Tensor& tensor, const LlamaConfig& config) {
  const std::int64_t key = config.num_key_value_heads * config.head_dim, f = config.intermediate_size;
  switch (tensor_of_layer) {
    case 0:
      return {{"input_layernorm.weight", tensor.size(0)}};
    case 1:
      return {{"self_attn.q_proj.weight", config.attention_size()},
              {"self_attn.k_proj.weight", key},
              {"self_attn.v_proj.weight", key}};
    case 2:
      return {{"self_attn.o_proj.weight", tensor.size(0)}};
    case 3:
      return {{"post_attention_layernorm.weight", tensor.size(0)}};
    case 4:
      return {{"mlp.gate_proj.weight", f}, {"mlp.up_proj.weight", f}};
    default:
      return {{"mlp.down_proj.weight", tensor.size(0)}};
  }
}

}  // namespace

std::vector<NamedTensor> named_parts(std::size_t index, const at::Tensor& tensor, const LlamaConfig& config) {
  const std::size_t after_layers = 1 + static_cast<std::size_t>(config.num_hidden_layers) * tensors_per_layer;
  if (index == 0) return {{"model.embed_tokens.weight", tensor}};
  if (index == after_layers) return {{"model.norm.weight", tensor}};
  if (index > after_layers) return {{"lm_head.weight", tensor}};
  std::vector<NamedTensor> parts;
  std::int64_t row = 0;
  for (const auto& [name, rows] : named_rows((index - 1) % tensors_per_layer, tensor, config)) {
    parts.push_back({layer_prefix((index - 1) / tensors_per_layer) + name, tensor.narrow(0, row, rows)});
    row += rows;
  }
  return parts;
}

std::vector<NamedTensor> named_tensors(const Weights& weights, const LlamaConfig& config) {
  std::vector<NamedTensor> named;
  const std::vector<at::Tensor> tensors = weights.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    for (NamedTensor& part : named_parts(i, tensors[i], config)) named.push_back(std::move(part));
  }
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
