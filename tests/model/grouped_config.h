// A LLaMA of a few dozen numbers a matrix, with grouped key and value heads.
#pragma once

#include "rrhf/model/llama_config.h"

namespace rrhf::model {

inline LlamaConfig grouped_config() {
  LlamaConfig config;
  config.vocab_size = 13;
  config.hidden_size = 8;
  config.intermediate_size = 6;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 2;
  config.initializer_range = 0.3;
  return config;
}

}  // namespace rrhf::model
