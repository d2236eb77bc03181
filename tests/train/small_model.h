// A model of a few hundred parameters whose tensors all have different shapes.
#pragma once

#include "rrhf/model/llama_config.h"

namespace rrhf::train::testing {

inline model::LlamaConfig small_config(bool tied) {
  model::LlamaConfig config;
  config.vocab_size = 13;
  config.hidden_size = 12;
  config.intermediate_size = 10;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 3;
  config.head_dim = 4;
  config.tie_word_embeddings = tied;
  return config;
}

}  // namespace rrhf::train::testing
