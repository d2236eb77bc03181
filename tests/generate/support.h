// A tokenizer, and small models whose behaviour is known.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "rrhf/generate/generator.h"
#include "rrhf/model/llama.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::generate::testing {

/// The quickstart's: 640 pieces with byte fallback, BOS 1, EOS 2, no padding token.
inline const text::Tokenizer& tokenizer() {
  static const text::Tokenizer loaded =
      text::Tokenizer::load(std::filesystem::path(RRHF_SOURCE_DIR) / "data" / "quickstart");
  return loaded;
}

inline model::LlamaConfig small_config() {
  model::LlamaConfig config;
  config.vocab_size = 640;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 6;
  config.max_position_embeddings = 64;
  config.initializer_range = 0.4;
  return config;
}

/// Random weights: it says anything, and what it says depends on all it has read.
inline model::Llama random_llama(at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU) {
  const model::LlamaConfig config = small_config();
  model::Weights weights = model::empty_weights(config, at::TensorOptions().dtype(dtype).device(device));
  model::initialize(weights, config, 5);
  return {config, std::move(weights)};
}

/// Says `next[t]` after token t with near certainty, whatever came before: layers that add nothing, and an embedding of
/// one dimension a token of interest.
inline model::Llama chain_llama(const std::vector<std::pair<std::int32_t, std::int32_t>>& next) {
  model::LlamaConfig config = small_config();
  config.hidden_size = 24;
  model::Weights weights = model::zero_weights(config, at::TensorOptions().dtype(at::kFloat));
  weights.final_norm_D.fill_(10);
  for (model::LayerWeights& layer : weights.layers) {
    layer.input_norm_D.fill_(1);
    layer.post_norm_D.fill_(1);
  }
  for (std::size_t i = 0; i < next.size(); ++i) {
    weights.embedding_VD[next[i].first][static_cast<std::int64_t>(i)] = 1;
    weights.head_VD[next[i].second][static_cast<std::int64_t>(i)] += 1;
  }
  return {config, std::move(weights)};
}

inline Request request(std::string_view text, std::uint64_t row = 0) {
  return {prompt_ids(tokenizer(), {}, text), row};
}

}  // namespace rrhf::generate::testing
