// The tensors of a model that are held, trained and saved together, by number: all its weights, or the adapters beside
// them (model/low_rank.h).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/model/llama_config.h"
#include "rrhf/model/low_rank.h"
#include "rrhf/model/units.h"
#include "rrhf/model/weights.h"

namespace rrhf::model {

class TensorSet {
 public:
  /// All weights, numbered as in Weights::tensors(). Not explicit: a config alone stands for its model.
  TensorSet(const LlamaConfig& config);
  /// The adapters alone: those of each layer by product, A before B.
  TensorSet(const LlamaConfig& config, const LoraLayout& adapters);

  const LlamaConfig& config() const noexcept { return config_; }
  /// What kind of set it is: null for all weights.
  const LoraLayout* adapters() const noexcept { return adapters_ ? &*adapters_ : nullptr; }

  std::size_t size() const noexcept { return shapes_.size(); }
  const std::vector<std::vector<std::int64_t>>& shapes() const noexcept { return shapes_; }
  std::int64_t parameters() const;  ///< elements of all

  /// The numbers of the tensors that a unit of model::Units has, ascending; of adapters, the layers' units alone have
  /// any.
  const std::vector<std::size_t>& unit(std::size_t unit) const { return units_[unit]; }
  std::size_t units() const noexcept { return units_.size(); }

  /// Where `weights` holds them. Makes room for the layers.
  std::vector<at::Tensor*> places(Weights& weights) const;

  /// Tensor number `index` under its name in a checkpoint, or under those of the projections it holds: Hugging Face's,
  /// for adapters PEFT's.
  std::vector<NamedTensor> named_parts(std::size_t index, const at::Tensor& tensor) const;

 private:
  LlamaConfig config_;
  std::optional<LoraLayout> adapters_;
  std::vector<LayerProduct> adapted_;  // the products of a layer with adapters
  std::vector<std::vector<std::int64_t>> shapes_;
  std::vector<std::vector<std::size_t>> units_;
};

/// "model.layers.3.self_attn.q_proj": a projection's name without ".weight".
std::string projection_name(std::size_t layer, Projection projection);

/// What training begins with, of a set of adapters: A from U(-1/sqrt(in), 1/sqrt(in)), PEFT's distribution, and B
/// zero, so that they add nothing yet. From `seed`, the same on every machine. `take` gets the number of each tensor
/// and its values, float32 on the CPU.
void draw_adapters(const TensorSet& set, std::uint64_t seed,
                   const std::function<void(std::size_t, const at::Tensor&)>& take);

}  // namespace rrhf::model
