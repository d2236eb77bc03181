#include "rrhf/model/units.h"

namespace rrhf::model {

Units::Units(const LlamaConfig& config)
    : layers_(static_cast<std::size_t>(config.num_hidden_layers)), tied_(config.tie_word_embeddings) {}

std::vector<std::size_t> Units::tensors(std::size_t unit) const {
  const std::size_t final_norm = 1 + layers_ * tensors_per_layer;
  if (unit == 0) return tied_ ? std::vector<std::size_t>{0, final_norm} : std::vector<std::size_t>{0};
  if (unit > layers_) return {final_norm, final_norm + 1};
  std::vector<std::size_t> numbers;
  for (std::size_t i = 0; i < tensors_per_layer; ++i) numbers.push_back(1 + (unit - 1) * tensors_per_layer + i);
  return numbers;
}

Parameters::Parameters(Weights weights) : weights_(std::move(weights)), options_(weights_.embedding_VD.options()) {}

}  // namespace rrhf::model
