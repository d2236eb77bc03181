#include "rrhf/model/llama_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf::model {
namespace {

// Fields that change nothing in training or log-probs here: bookkeeping, generation defaults, dropout that LLaMA has at
// 0.
constexpr std::array harmless_fields{"_name_or_path",
                                     "architectures",
                                     "torch_dtype",
                                     "dtype",
                                     "transformers_version",
                                     "use_cache",
                                     "model_type",
                                     "initializer_range",
                                     "return_dict",
                                     "output_hidden_states",
                                     "output_attentions",
                                     "torchscript",
                                     "id2label",
                                     "label2id",
                                     "num_labels",
                                     "problem_type",
                                     "finetuning_task",
                                     "task_specific_params",
                                     "tokenizer_class",
                                     "prefix",
                                     "sep_token_id",
                                     "decoder_start_token_id",
                                     "is_decoder",
                                     "is_encoder_decoder",
                                     "add_cross_attention",
                                     "cross_attention_hidden_size",
                                     "chunk_size_feed_forward",
                                     "max_length",
                                     "min_length",
                                     "do_sample",
                                     "early_stopping",
                                     "num_beams",
                                     "num_beam_groups",
                                     "diversity_penalty",
                                     "temperature",
                                     "top_k",
                                     "top_p",
                                     "typical_p",
                                     "repetition_penalty",
                                     "length_penalty",
                                     "no_repeat_ngram_size",
                                     "encoder_no_repeat_ngram_size",
                                     "bad_words_ids",
                                     "num_return_sequences",
                                     "output_scores",
                                     "return_dict_in_generate",
                                     "forced_bos_token_id",
                                     "forced_eos_token_id",
                                     "remove_invalid_values",
                                     "exponential_decay_length_penalty",
                                     "suppress_tokens",
                                     "begin_suppress_tokens",
                                     "tf_legacy_loss",
                                     "use_bfloat16",
                                     "pruned_heads",
                                     "unk_token_id",
                                     "max_sequence_length",
                                     "layer_types"};

// Fields the struct holds or that are checked below by value.
constexpr std::array understood_fields{"vocab_size",
                                       "hidden_size",
                                       "intermediate_size",
                                       "num_hidden_layers",
                                       "num_attention_heads",
                                       "num_key_value_heads",
                                       "head_dim",
                                       "max_position_embeddings",
                                       "rms_norm_eps",
                                       "rope_theta",
                                       "rope_scaling",
                                       "rope_parameters",
                                       "tie_word_embeddings",
                                       "bos_token_id",
                                       "eos_token_id",
                                       "pad_token_id",
                                       "hidden_act",
                                       "attention_bias",
                                       "mlp_bias",
                                       "attention_dropout",
                                       "hidden_dropout",
                                       "embd_pdrop",
                                       "pretraining_tp",
                                       "quantization_config",
                                       "sliding_window",
                                       "use_sliding_window",
                                       "partial_rotary_factor"};

template <std::size_t N>
bool contains(const std::array<const char*, N>& names, std::string_view name) {
  return std::ranges::any_of(names, [&](std::string_view known) { return known == name; });
}

// Collects the mistakes of one config.json.
class Reader {
 public:
  Reader(const Json& json, std::string_view where) : json_(json), where_(where) {}

  const Json* find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  std::int64_t size(const char* key, std::optional<std::int64_t> fallback) {
    const Json* value = find(key);
    if (value == nullptr) {
      if (!fallback) mistake("{} is missing", key);
      return fallback.value_or(1);
    }
    if (!value->is_number_integer() || value->get<std::int64_t>() < 1 || value->get<std::int64_t>() > largest_size) {
      mistake("{} must be a whole number from 1, is {}", key, describe(*value));
      return 1;
    }
    return value->get<std::int64_t>();
  }

  double number(const char* key, double fallback) {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !(value->get<double>() > 0)) {
      mistake("{} must be a number above 0, is {}", key, describe(*value));
      return fallback;
    }
    return value->get<double>();
  }

  bool flag(const char* key) {
    const Json* value = find(key);
    if (value != nullptr && !value->is_boolean()) mistake("{} must be true or false, is {}", key, describe(*value));
    return value != nullptr && value->is_boolean() && value->get<bool>();
  }

  std::optional<std::int64_t> token_id(const char* key) {
    const Json* value = find(key);
    if (value == nullptr || (value->is_number_integer() && value->get<std::int64_t>() < 0)) return std::nullopt;
    // LLaMA 3 lists several end tokens; the first is the one sequences are closed with.
    if (value->is_array() && !value->empty() && value->front().is_number_integer())
      return value->front().get<std::int64_t>();
    if (value->is_number_integer()) return value->get<std::int64_t>();
    mistake("{} must be a token id, is {}", key, describe(*value));
    return std::nullopt;
  }

  // A field that is fine while it has the value it has in a plain LLaMA.
  void require_plain(const char* key, const Json& plain) {
    const Json* value = find(key);
    if (value != nullptr && *value != plain) {
      mistake("{} is {}; only {} is implemented, and ignoring it would change the result", key, value->dump(),
              plain.dump());
    }
  }

  RopeScaling rope_scaling();

  template <class... Args>
  void mistake(fmt::format_string<Args...> format, Args&&... args) {
    mistakes_ += fmt::format("{}{}: {}", mistakes_.empty() ? "" : "\n[model] ", where_,
                             fmt::format(format, std::forward<Args>(args)...));
  }

  void finish() const {
    if (!mistakes_.empty()) throw InputError("model", mistakes_);
  }

 private:
  // Far above any LLaMA, far below what would overflow a product of two.
  static constexpr std::int64_t largest_size = std::int64_t{1} << 30;

  const Json& json_;
  std::string_view where_;
  std::string mistakes_;
};

RopeScaling Reader::rope_scaling() {
  const Json* value = find("rope_scaling");
  if (value == nullptr) return {};
  if (!value->is_object()) {
    mistake("rope_scaling must be an object, is {}", describe(*value));
    return {};
  }
  const auto type = value->contains("rope_type") ? value->find("rope_type") : value->find("type");
  const auto factor = value->find("factor");
  const std::string kind = type != value->end() && type->is_string() ? type->get<std::string>() : "";
  if (kind == "default") return {};
  if (kind != "linear" && kind != "dynamic") {
    mistake("rope_scaling {} is not implemented; linear and dynamic are", value->dump());
    return {};
  }
  for (const auto& [key, ignored] : value->items()) {
    if (key != "rope_type" && key != "type" && key != "factor") mistake("rope_scaling.{} is not known", key);
  }
  if (factor == value->end() || !factor->is_number() || factor->get<double>() < 1) {
    mistake("rope_scaling.factor must be a number from 1");
    return {};
  }
  return {kind == "linear" ? RopeScaling::Kind::linear : RopeScaling::Kind::dynamic, factor->get<double>()};
}

void check_heads(const LlamaConfig& config, Reader& reader) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    reader.mistake("num_attention_heads {} is not a multiple of num_key_value_heads {}", config.num_attention_heads,
                   config.num_key_value_heads);
  }
  if (config.head_dim % 2 != 0) reader.mistake("head_dim {} is odd; rotary embedding turns pairs", config.head_dim);
}

// What a plain LLaMA has; anything else changes its outputs.
void check_plain_fields(const Json& json, Reader& reader) {
  reader.require_plain("model_type", "llama");
  reader.require_plain("hidden_act", "silu");
  for (const char* key : {"attention_bias", "mlp_bias", "use_sliding_window"}) reader.require_plain(key, false);
  for (const char* key : {"attention_dropout", "hidden_dropout", "embd_pdrop"}) {
    const Json* value = reader.find(key);
    if (value != nullptr && *value != 0 && *value != 0.0) reader.require_plain(key, 0.0);
  }
  for (const char* key : {"pretraining_tp", "partial_rotary_factor"}) {
    const Json* value = reader.find(key);
    if (value != nullptr && *value != 1 && *value != 1.0) reader.require_plain(key, 1);
  }
  for (const char* key : {"quantization_config", "sliding_window", "rope_parameters"})
    reader.require_plain(key, nullptr);
  for (const auto& [key, value] : json.items()) {
    if (!contains(harmless_fields, key) && !contains(understood_fields, key) && !value.is_null()) {
      reader.mistake("field {} is not known here and might change the result; remove it if it has no effect", key);
    }
  }
}

}  // namespace

std::int64_t LlamaConfig::parameter_count() const {
  const std::int64_t attention = hidden_size * (qkv_size() + attention_size());
  const std::int64_t layer = attention + 3 * hidden_size * intermediate_size + 2 * hidden_size;
  return num_hidden_layers * layer + hidden_size + vocab_size * hidden_size * (tie_word_embeddings ? 1 : 2);
}

LlamaConfig llama_config_from_json(const Json& json, std::string_view where) {
  if (!json.is_object()) throw_input("model", "{}: must be an object, is {}", where, describe(json));
  Reader reader(json, where);
  LlamaConfig config;
  config.source = json;
  config.vocab_size = reader.size("vocab_size", std::nullopt);
  config.hidden_size = reader.size("hidden_size", std::nullopt);
  config.intermediate_size = reader.size("intermediate_size", std::nullopt);
  config.num_hidden_layers = reader.size("num_hidden_layers", std::nullopt);
  config.num_attention_heads = reader.size("num_attention_heads", std::nullopt);
  config.num_key_value_heads = reader.size("num_key_value_heads", config.num_attention_heads);
  if (reader.find("head_dim") == nullptr && config.hidden_size % config.num_attention_heads != 0) {
    reader.mistake("hidden_size {} is not a multiple of num_attention_heads {}", config.hidden_size,
                   config.num_attention_heads);
  }
  config.head_dim = reader.size("head_dim", std::max<std::int64_t>(1, config.hidden_size / config.num_attention_heads));
  config.max_position_embeddings = reader.size("max_position_embeddings", 2048);
  config.rms_norm_eps = reader.number("rms_norm_eps", 1e-6);
  config.rope_theta = reader.number("rope_theta", 10000);
  config.initializer_range = reader.number("initializer_range", 0.02);
  config.rope_scaling = reader.rope_scaling();
  config.tie_word_embeddings = reader.flag("tie_word_embeddings");
  config.bos_token_id = reader.token_id("bos_token_id");
  config.eos_token_id = reader.token_id("eos_token_id");
  config.pad_token_id = reader.token_id("pad_token_id");
  check_heads(config, reader);
  check_plain_fields(json, reader);
  reader.finish();
  return config;
}

LlamaConfig read_llama_config(const std::filesystem::path& file) {
  return llama_config_from_json(parse_json(read_file(file), "model", file.string(), {.comments = true}), file.string());
}

Json to_json(const LlamaConfig& config) {
  Json json = config.source;
  json["architectures"] = {"LlamaForCausalLM"};
  json["model_type"] = "llama";
  json["hidden_act"] = "silu";
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["rope_theta"] = config.rope_theta;
  json["initializer_range"] = config.initializer_range;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  if (config.rope_scaling.kind != RopeScaling::Kind::none) {
    const bool linear = config.rope_scaling.kind == RopeScaling::Kind::linear;
    json["rope_scaling"] = {{"rope_type", linear ? "linear" : "dynamic"}, {"factor", config.rope_scaling.factor}};
  }
  // transformers takes a missing id for its own default, so the absence of one is written too.
  const auto id = [](const std::optional<std::int64_t>& value) { return value ? Json(*value) : Json(nullptr); };
  json["bos_token_id"] = id(config.bos_token_id);
  if (!json.contains("eos_token_id") || !json["eos_token_id"].is_array())
    json["eos_token_id"] = id(config.eos_token_id);
  json["pad_token_id"] = id(config.pad_token_id);
  return json;
}

}  // namespace rrhf::model
