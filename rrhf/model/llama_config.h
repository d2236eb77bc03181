// The shape of a LLaMA, as Hugging Face's config.json says it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/core/json.h"

namespace rrhf::model {

/// Rotary position scaling. Formulas as in Hugging Face's modeling_rope_utils.
struct RopeScaling {
  enum class Kind { none, linear, dynamic };
  Kind kind = Kind::none;
  double factor = 1;
};

/// Architecture of LLaMA-1/2 family models. Fields carry the names of config.json.
struct LlamaConfig {
  std::int64_t vocab_size = 32000;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 11008;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 32;
  std::int64_t head_dim = 128;
  std::int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  std::optional<std::int64_t> bos_token_id;
  std::optional<std::int64_t> eos_token_id;
  std::optional<std::int64_t> pad_token_id;

  /// The object this was read from: written back on saving, so that fields without effect here are not lost.
  Json source = Json::object();

  /// Width of the fused query/key/value projection.
  std::int64_t qkv_size() const { return (num_attention_heads + 2 * num_key_value_heads) * head_dim; }
  std::int64_t attention_size() const { return num_attention_heads * head_dim; }
  std::int64_t parameter_count() const;
};

/// Positions the model can hold: max_position_embeddings, times the factor of its rotary scaling.
inline std::int64_t context_length(const LlamaConfig& config) {
  const double factor = config.rope_scaling.kind == RopeScaling::Kind::none ? 1 : config.rope_scaling.factor;
  return static_cast<std::int64_t>(factor * static_cast<double>(config.max_position_embeddings));
}

/// Reads config.json's object. `where` names it in messages.
/// Throws InputError, all mistakes at once, for missing or impossible sizes and for every field that would change the
/// result and is not implemented (another hidden_act or model_type, attention_bias, mlp_bias, a quantization_config, a
/// sliding_window, a rope scaling other than linear and dynamic, ...). A field this program has
/// never heard of is refused too, unless it is known to have no effect. transformers 5's rope_parameters are read as
/// the rope_theta and rope_scaling they stand for, and written as these.
LlamaConfig llama_config_from_json(const Json& json, std::string_view where);

LlamaConfig read_llama_config(const std::filesystem::path& file);

/// The object for config.json: the source with every field of the struct set.
Json to_json(const LlamaConfig& config);

}  // namespace rrhf::model
