// LoRA in a decoder layer (Hu et al. 2021): beside a frozen product y = x W^T a trained one, y += scale (x A^T) B^T.
//
// Projections that read the same input are one product (model/weights.h). Their A stand one below the other, so that
// x A^T is one narrow product; each has a B of its own and adds to its own columns of y. No gradient of W is made.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "rrhf/core/lora_options.h"
#include "rrhf/model/arena.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/pack.h"
#include "rrhf/model/weights.h"

namespace rrhf::model {

/// Where the adapters of a layer stand: the same in every layer.
class LoraLayout {
 public:
  /// One adapted projection of a product.
  struct Block {
    Projection projection;
    Segment rows;  ///< of the product's W: the columns of its y
  };

  /// Throws Error where no rank is set, or no projection has an adapter.
  LoraLayout(const LlamaConfig& config, const LoraOptions& options);

  std::int64_t rank() const noexcept { return rank_; }
  double alpha() const noexcept { return alpha_; }
  double scale() const noexcept { return alpha_ / static_cast<double>(rank_); }

  /// The adapted projections of a product in the order of their rows; none: it has no adapter.
  const std::vector<Block>& blocks(LayerProduct product) const { return blocks_[static_cast<std::size_t>(product)]; }

  std::int64_t parameters_of_layer() const;

  /// The shapes of LowRank::a_NI and b_OR. For a product with an adapter.
  std::array<std::vector<std::int64_t>, 2> shapes(LayerProduct product) const;

 private:
  std::int64_t rank_;
  double alpha_;
  std::array<std::vector<Block>, layer_products.size()> blocks_;
  std::array<std::int64_t, layer_products.size()> inputs_;
};

/// y = x W^T and what the adapters add. `lora` is null where there are none; else `weights` has the adapters of the
/// layout.
at::Tensor layer_product(LayerProduct product, const at::Tensor& x_TI, const LayerWeights& weights,
                         const LoraLayout* lora, Room room = {});

/// The backward pass of layer_product() for one dy. Keeps references to dy, weights and layout, which must outlive it.
class ProductBackward {
 public:
  ProductBackward(LayerProduct product, const at::Tensor& dy_TO, const LayerWeights& weights, const LoraLayout* lora);

  /// dx.
  at::Tensor input(Room room = {}) const;

  /// Whether add_weights() has anything to add to `gradients`, and so needs x.
  bool needs_input(const LayerWeights& gradients) const;

  /// Adds W's gradient where `gradients` has one, and, where the product is adapted, those of A and B, which
  /// `gradients` must have then.
  void add_weights(const at::Tensor& x_TI, LayerWeights& gradients) const;

 private:
  LayerProduct product_;
  const at::Tensor* dy_TO_;
  const LayerWeights* weights_;
  const LoraLayout* lora_;
  at::Tensor narrow_TN_;  // scale dy B; undefined without an adapter
};

}  // namespace rrhf::model
