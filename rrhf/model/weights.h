// The tensors of a LLaMA. The same structure holds parameters, gradients and optimizer moments; what is not
// there, such as gradients of frozen weights, is undefined.
//
// Projections that read the same input are one matrix (query/key/value; gate/up), so that they are one product.
// Hugging Face's names are views into them.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::model {

/// The products of a layer, each of one matrix or of several that read the same input.
enum class LayerProduct : std::uint8_t { qkv, output, gate_up, down };
inline constexpr std::array layer_products{LayerProduct::qkv, LayerProduct::output, LayerProduct::gate_up,
                                           LayerProduct::down};

/// LoRA's matrices beside one product (model/low_rank.h). R: the rank, N: R for each adapted projection of the product,
/// I: the input's width, O: the rows of those projections.
struct LowRank {
  at::Tensor a_NI;  ///< each projection's A below the one before
  at::Tensor b_OR;  ///< the same of B
};

/// D: hidden_size, F: intermediate_size, V: vocab_size. Projections are [out, in] as in Hugging Face.
struct LayerWeights {
  at::Tensor input_norm_D;
  at::Tensor qkv_QD;       ///< rows: all query heads, all key heads, all value heads
  at::Tensor output_DA;    ///< A: num_attention_heads * head_dim
  at::Tensor post_norm_D;  ///< before the MLP
  at::Tensor gate_up_2FD;  ///< rows: gate, up
  at::Tensor down_DF;
  std::array<LowRank, layer_products.size()> adapters;  ///< by product; no part of Weights::tensors()

  LowRank& adapter(LayerProduct product) { return adapters[static_cast<std::size_t>(product)]; }
  const LowRank& adapter(LayerProduct product) const { return adapters[static_cast<std::size_t>(product)]; }
};

/// How many tensors of Weights::tensors() a LayerWeights has.
inline constexpr std::size_t tensors_per_layer = 6;

struct Weights {
  at::Tensor embedding_VD;
  std::vector<LayerWeights> layers;
  at::Tensor final_norm_D;
  at::Tensor head_VD;  ///< undefined when tied: head() is then the embedding

  const at::Tensor& head() const { return head_VD.defined() ? head_VD : embedding_VD; }

  /// Every owned tensor once, in a fixed order, without adapters (model::TensorSet has either).
  std::vector<at::Tensor> tensors() const;
  std::int64_t bytes() const;
};

/// Where a Weights of the config holds its tensors, defined or not, in the order of tensors(). Makes room for the
/// layers.
std::vector<at::Tensor*> tensor_places(Weights& weights, const LlamaConfig& config);

/// The shapes of tensors(), in their order.
std::vector<std::vector<std::int64_t>> tensor_shapes(const LlamaConfig& config);

/// Uninitialized tensors of the config's shapes.
Weights empty_weights(const LlamaConfig& config, at::TensorOptions options);

/// Zeros of the config's shapes.
Weights zero_weights(const LlamaConfig& config, at::TensorOptions options);

/// N(0, initializer_range) projections and embeddings, norms at 1, from `seed`: the same on every machine.
void initialize(Weights& weights, const LlamaConfig& config, std::uint64_t seed);

/// The same values tensor by tensor, float32 on the CPU, in the order of tensors(): `take` gets the tensor's number.
void draw_initial(const LlamaConfig& config, std::uint64_t seed,
                  const std::function<void(std::size_t, const at::Tensor&)>& take);

/// One tensor under its Hugging Face name. `view` shares memory with the Weights.
struct NamedTensor {
  std::string name;
  at::Tensor view;
};

/// All tensors of a checkpoint in Hugging Face's order; a tied head is left out.
std::vector<NamedTensor> named_tensors(const Weights& weights, const LlamaConfig& config);

/// Tensor number `index` of tensors() under its name, or under those of the projections it holds.
std::vector<NamedTensor> named_parts(std::size_t index, const at::Tensor& tensor, const LlamaConfig& config);

/// float32 for Dtype::float32, and so on.
at::ScalarType scalar_type(Dtype dtype);

}  // namespace rrhf::model
