// Queries by their lengths, for packs of any shape, and a small model with heads of any shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "rrhf/model/llama_config.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// A prompt and responses of so many tokens each, ids below `vocabulary`, the same each time. Not copied: `inputs`
/// refer to `texts`. A response of one label has no row of its own.
struct RandomPack {
  std::vector<std::vector<std::int32_t>> texts;
  std::vector<PackInput> inputs;

  explicit RandomPack(std::initializer_list<std::vector<std::size_t>> queries, std::uint32_t vocabulary = 37)
      : RandomPack(std::vector(queries), vocabulary) {}

  explicit RandomPack(const std::vector<std::vector<std::size_t>>& queries, std::uint32_t vocabulary = 37) {
    std::uint32_t state = 1;
    for (const auto& lengths : queries) {
      for (const std::size_t length : lengths) {
        auto& text = texts.emplace_back(length);
        for (std::int32_t& id : text) {
          state = state * 1664525U + 1013904223U;  // Numerical Recipes
          id = static_cast<std::int32_t>((state >> 8) % vocabulary);
        }
      }
    }
    auto text = texts.begin();
    for (const auto& lengths : queries) {
      PackInput& input = inputs.emplace_back(PackInput{*text++, {}});
      for (std::size_t i = 1; i < lengths.size(); ++i) input.responses.emplace_back(*text++);
    }
  }
};

/// Two layers over the vocabulary of RandomPack.
inline LlamaConfig heads_config(std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim) {
  LlamaConfig config;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.vocab_size = 37;
  config.num_attention_heads = heads;
  config.num_key_value_heads = kv_heads;
  config.head_dim = head_dim;
  config.initializer_range = 0.3;
  return config;
}

}  // namespace rrhf::model
