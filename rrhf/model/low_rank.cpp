#include "rrhf/model/low_rank.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/core/error.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/products.h"

namespace rrhf::model {
namespace {

struct ProjectionPlace {
  Projection projection;
  LayerProduct product;
  std::int64_t rows;
};

// In the order of a product's rows.
std::array<ProjectionPlace, 7> places(const LlamaConfig& config) {
  const std::int64_t key = config.num_key_value_heads * config.head_dim, f = config.intermediate_size;
  return {{{Projection::q_proj, LayerProduct::qkv, config.attention_size()},
           {Projection::k_proj, LayerProduct::qkv, key},
           {Projection::v_proj, LayerProduct::qkv, key},
           {Projection::o_proj, LayerProduct::output, config.hidden_size},
           {Projection::gate_proj, LayerProduct::gate_up, f},
           {Projection::up_proj, LayerProduct::gate_up, f},
           {Projection::down_proj, LayerProduct::down, config.hidden_size}}};
}

template <class Layer>
auto& matrix_of(Layer& layer, LayerProduct product) {
  switch (product) {
    case LayerProduct::qkv:
      return layer.qkv_QD;
    case LayerProduct::output:
      return layer.output_DA;
    case LayerProduct::gate_up:
      return layer.gate_up_2FD;
    default:
      return layer.down_DF;
  }
}

// Calls visit(columns of y, columns of x A^T, B) for each adapted projection.
template <class F>
void for_blocks(const LoraLayout& lora, LayerProduct product, const at::Tensor& b_OR, F&& visit) {
  std::int64_t column = 0, row = 0;
  for (const auto& [projection, rows] : lora.blocks(product)) {
    visit(rows, Segment{column, lora.rank()}, b_OR.narrow(0, row, rows.size));
    column += lora.rank();
    row += rows.size;
  }
}

at::Tensor columns(const at::Tensor& x, Segment segment) { return x.narrow(1, segment.begin, segment.size); }

bool is_adapted(const LoraLayout* lora, LayerProduct product) {
  return lora != nullptr && !lora->blocks(product).empty();
}

}  // namespace

LoraLayout::LoraLayout(const LlamaConfig& config, const LoraOptions& options)
    : rank_(options.rank.value_or(0)), alpha_(options.alpha) {
  if (rank_ < 1 || options.modules.empty()) {
    throw_error("lora", "adapters need a rank of at least 1 and projections to stand beside; rank {}, {} projections",
                rank_, options.modules.size());
  }
  inputs_ = {config.hidden_size, config.attention_size(), config.hidden_size, config.intermediate_size};
  std::array<std::int64_t, layer_products.size()> row{};
  for (const auto& [projection, product, rows] : places(config)) {
    const auto at = static_cast<std::size_t>(product);
    if (std::ranges::find(options.modules, projection) != options.modules.end()) {
      blocks_[at].push_back({projection, {row[at], rows}});
    }
    row[at] += rows;
  }
}

std::array<std::vector<std::int64_t>, 2> LoraLayout::shapes(LayerProduct product) const {
  std::int64_t rows = 0;
  for (const Block& block : blocks(product)) rows += block.rows.size;
  return {{{std::ssize(blocks(product)) * rank_, inputs_[static_cast<std::size_t>(product)]}, {rows, rank_}}};
}

std::int64_t LoraLayout::parameters_of_layer() const {
  std::int64_t sum = 0;
  for (const LayerProduct product : layer_products) {
    for (const auto& shape : shapes(product)) sum += shape[0] * shape[1];
  }
  return sum;
}

at::Tensor layer_product(LayerProduct product, const at::Tensor& x_TI, const LayerWeights& weights,
                         const LoraLayout* lora, Room room) {
  at::Tensor y_TO = project(x_TI, matrix_of(weights, product), room);
  if (!is_adapted(lora, product)) return y_TO;
  const LowRank& adapter = weights.adapter(product);
  const at::Tensor narrow_TN = project(x_TI, adapter.a_NI).mul_(lora->scale());
  for_blocks(*lora, product, adapter.b_OR, [&](Segment rows, Segment own, const at::Tensor& b_BR) {
    add_product(columns(narrow_TN, own), b_BR.t(), columns(y_TO, rows));
  });
  return y_TO;
}

ProductBackward::ProductBackward(LayerProduct product, const at::Tensor& dy_TO, const LayerWeights& weights,
                                 const LoraLayout* lora)
    : product_(product), dy_TO_(&dy_TO), weights_(&weights), lora_(lora) {
  if (!is_adapted(lora, product)) return;
  const LowRank& adapter = weights.adapter(product);
  narrow_TN_ = at::empty({dy_TO.size(0), adapter.a_NI.size(0)}, dy_TO.options());
  for_blocks(*lora, product, adapter.b_OR, [&](Segment rows, Segment own, const at::Tensor& b_BR) {
    product_into(columns(dy_TO, rows), b_BR, columns(narrow_TN_, own));
  });
  narrow_TN_.mul_(lora->scale());
}

at::Tensor ProductBackward::input(Room room) const {
  at::Tensor dx_TI = project_backward(*dy_TO_, matrix_of(*weights_, product_), room);
  if (narrow_TN_.defined()) add_product(narrow_TN_, weights_->adapter(product_).a_NI, dx_TI);
  return dx_TI;
}

bool ProductBackward::needs_input(const LayerWeights& gradients) const {
  return narrow_TN_.defined() || matrix_of(gradients, product_).defined();
}

void ProductBackward::add_weights(const at::Tensor& x_TI, LayerWeights& gradients) const {
  at::Tensor& matrix = matrix_of(gradients, product_);
  if (matrix.defined()) add_weight_gradient(*dy_TO_, x_TI, matrix);
  if (!narrow_TN_.defined()) return;
  LowRank& adapter = gradients.adapter(product_);
  add_weight_gradient(narrow_TN_, x_TI, adapter.a_NI);
  const at::Tensor x_TN = project(x_TI, weights_->adapter(product_).a_NI).mul_(lora_->scale());
  for_blocks(*lora_, product_, adapter.b_OR, [&](Segment rows, Segment own, at::Tensor slopes_BR) {
    add_weight_gradient(columns(*dy_TO_, rows), columns(x_TN, own), slopes_BR);
  });
}

}  // namespace rrhf::model
