#include "rrhf/model/tensor_set.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <numeric>

namespace rrhf::model {
namespace {

constexpr std::size_t matrices = 2;  // of an adapter: A and B

}  // namespace

TensorSet::TensorSet(const LlamaConfig& config) : config_(config), shapes_(tensor_shapes(config)) {
  const Units units(config);
  for (std::size_t unit = 0; unit < units.count(); ++unit) units_.push_back(units.tensors(unit));
}

TensorSet::TensorSet(const LlamaConfig& config, const LoraLayout& adapters) : config_(config), adapters_(adapters) {
  for (const LayerProduct product : layer_products) {
    if (!adapters.blocks(product).empty()) adapted_.push_back(product);
  }
  const Units units(config);
  units_.resize(units.count());
  for (std::size_t layer = 0; layer < units.layers(); ++layer) {
    for (const LayerProduct product : adapted_) {
      for (auto& shape : adapters.shapes(product)) {
        units_[Units::layer(layer)].push_back(shapes_.size());
        shapes_.push_back(std::move(shape));
      }
    }
  }
}

std::int64_t TensorSet::parameters() const {
  std::int64_t sum = 0;
  for (const auto& shape : shapes_)
    sum += std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies());
  return sum;
}

std::vector<at::Tensor*> TensorSet::places(Weights& weights) const {
  std::vector<at::Tensor*> all = tensor_places(weights, config_);
  if (!adapters_) return all;
  all.clear();
  for (LayerWeights& layer : weights.layers) {
    for (const LayerProduct product : adapted_) {
      LowRank& adapter = layer.adapter(product);
      all.insert(all.end(), {&adapter.a_NI, &adapter.b_OR});
    }
  }
  return all;
}

std::string projection_name(std::size_t layer, Projection projection) {
  const bool attends = projection == Projection::q_proj || projection == Projection::k_proj ||
                       projection == Projection::v_proj || projection == Projection::o_proj;
  return fmt::format("model.layers.{}.{}.{}", layer, attends ? "self_attn" : "mlp", name_of(projection));
}

std::vector<NamedTensor> TensorSet::named_parts(std::size_t index, const at::Tensor& tensor) const {
  if (!adapters_) return model::named_parts(index, tensor, config_);
  const std::size_t of_layer = adapted_.size() * matrices, layer = index / of_layer;
  const LayerProduct product = adapted_[index % of_layer / matrices];
  const bool is_a = index % matrices == 0;
  std::vector<NamedTensor> parts;
  std::int64_t row = 0;
  for (const LoraLayout::Block& block : adapters_->blocks(product)) {
    const std::int64_t rows = is_a ? adapters_->rank() : block.rows.size;
    parts.push_back(
        {fmt::format("base_model.model.{}.lora_{}.weight", projection_name(layer, block.projection), is_a ? "A" : "B"),
         tensor.narrow(0, row, rows)});
    row += rows;
  }
  return parts;
}

void draw_adapters(const TensorSet& set, std::uint64_t seed,
                   const std::function<void(std::size_t, const at::Tensor&)>& take) {
  auto generator = at::detail::createCPUGenerator(seed);
  for (std::size_t i = 0; i < set.size(); ++i) {
    at::Tensor value = at::zeros(set.shapes()[i], at::TensorOptions().dtype(at::kFloat));
    if (i % matrices == 0) {
      const double bound = 1 / std::sqrt(static_cast<double>(set.shapes()[i][1]));
      value.uniform_(-bound, bound, generator);
    }
    take(i, value);
  }
}

}  // namespace rrhf::model
