#include "rrhf/model/llama_config.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <set>
#include <string_view>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/model/config_fields.h"

namespace rrhf::model {
namespace {

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
      if (!fallback) wrong(key, "is missing");
      return fallback.value_or(1);
    }
    if (!value->is_number_integer() || value->get<std::int64_t>() < 1 || value->get<std::int64_t>() > largest_size) {
      wrong(key, fmt::format("must be a whole number from 1, is {}", describe(*value)));
      return 1;
    }
    return value->get<std::int64_t>();
  }

  double number(const char* key, double fallback) {
    const Json* value = find(key);
    if (value == nullptr) return fallback;
    if (!value->is_number() || !(value->get<double>() > 0) || !std::isfinite(value->get<double>())) {
      wrong(key, fmt::format("must be a number above 0, is {}", describe(*value)));
      return fallback;
    }
    return value->get<double>();
  }

  bool flag(const char* key) {
    const Json* value = find(key);
    if (value != nullptr && !value->is_boolean())
      wrong(key, fmt::format("must be true or false, is {}", describe(*value)));
    return value != nullptr && value->is_boolean() && value->get<bool>();
  }

  std::optional<std::int64_t> token_id(const char* key) {
    const Json* value = find(key);
    if (value == nullptr || (value->is_number_integer() && value->get<std::int64_t>() < 0)) return std::nullopt;
    // LLaMA 3 lists several end tokens; the first is the one sequences are closed with.
    if (value->is_array() && !value->empty() && value->front().is_number_integer())
      return value->front().get<std::int64_t>();
    if (value->is_number_integer()) return value->get<std::int64_t>();
    wrong(key, fmt::format("must be a token id, is {}", describe(*value)));
    return std::nullopt;
  }

  // A field that is fine while it has the value it has in a plain LLaMA.
  void require_plain(const char* key, const Json& plain) {
    const Json* value = find(key);
    if (value != nullptr && *value != plain) {
      wrong(key, fmt::format("is {}; only {} is implemented, and ignoring it would change the result",
                             value->is_number() ? describe(*value) : value->dump(), plain.dump()));
    }
  }

  /// rope_theta and rope_scaling, or the rope_parameters that transformers 5 writes in their place.
  void read_rope(LlamaConfig& config);

  /// Whether these sizes were read: what follows from one that was not would only be a second complaint.
  bool read_well(std::initializer_list<const char*> keys) const {
    return std::ranges::none_of(keys, [&](const char* key) { return wrong_.contains(key); });
  }

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

  RopeScaling scaling_of(const char* key, std::initializer_list<const char*> other_fields);

  void wrong(const char* key, std::string_view what) {
    mistake("{} {}", key, what);
    wrong_.insert(key);
  }

  const Json& json_;
  std::string_view where_;
  std::string mistakes_;
  std::set<std::string, std::less<>> wrong_;  // sizes that could not be read
};

RopeScaling Reader::scaling_of(const char* key, std::initializer_list<const char*> other_fields) {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_object()) {
    mistake("{} must be an object, is {}", key, describe(*value));
    return {};
  }
  // transformers goes by "type" where both are there, its later versions by "rope_type".
  if (value->contains("rope_type") && value->contains("type") && (*value)["rope_type"] != (*value)["type"]) {
    mistake("{}.rope_type is {}, its type {}; they must agree", key, (*value)["rope_type"].dump(),
            (*value)["type"].dump());
  }
  const auto type = value->contains("rope_type") ? value->find("rope_type") : value->find("type");
  const auto factor = value->find("factor");
  // Parameters without a type scale nothing; a scaling without one says nothing.
  const bool unnamed = type == value->end() && std::string_view(key) == "rope_parameters";
  const std::string kind = unnamed                                     ? "default"
                           : type != value->end() && type->is_string() ? type->get<std::string>()
                                                                       : "";
  if (kind != "default" && kind != "linear" && kind != "dynamic") {
    mistake("{} {} is not implemented; linear and dynamic are", key, value->dump());
    return {};
  }
  for (const auto& [field, ignored] : value->items()) {
    const bool known = field == "rope_type" || field == "type" || field == "factor" ||
                       std::ranges::any_of(other_fields, [&](const char* other) { return field == other; });
    if (!known) mistake("{}.{} is not known", key, field);
  }
  if (kind == "default") return {};
  if (factor == value->end() || !factor->is_number() || !(factor->get<double>() >= 1) ||
      !std::isfinite(factor->get<double>())) {
    mistake("{}.factor must be a number from 1", key);
    return {};
  }
  return {kind == "linear" ? RopeScaling::Kind::linear : RopeScaling::Kind::dynamic, factor->get<double>()};
}

void Reader::read_rope(LlamaConfig& config) {
  config.rope_theta = number("rope_theta", 10000);
  config.rope_scaling = scaling_of("rope_scaling", {});
  const Json* parameters = find("rope_parameters");
  if (parameters == nullptr) return;
  if (find("rope_scaling") != nullptr) {
    mistake("rope_parameters and rope_scaling are both given; keep one of them");
    return;
  }
  config.rope_scaling = scaling_of("rope_parameters", {"rope_theta"});
  if (!parameters->is_object() || !parameters->contains("rope_theta")) return;
  const std::string inner_where = fmt::format("{}: rope_parameters", where_);
  Reader inner(*parameters, inner_where);
  const double theta = inner.number("rope_theta", config.rope_theta);
  mistakes_ += (mistakes_.empty() || inner.mistakes_.empty() ? "" : "\n[model] ") + inner.mistakes_;
  if (find("rope_theta") != nullptr && theta != config.rope_theta) {
    mistake("rope_theta is {}, in rope_parameters {}; they must agree", config.rope_theta, theta);
  }
  config.rope_theta = theta;
}

void check_heads(const LlamaConfig& config, Reader& reader) {
  if (reader.find("head_dim") == nullptr && reader.read_well({"hidden_size", "num_attention_heads"}) &&
      config.hidden_size % config.num_attention_heads != 0) {
    reader.mistake("hidden_size {} is not a multiple of num_attention_heads {}", config.hidden_size,
                   config.num_attention_heads);
    return;
  }
  if (reader.read_well({"num_attention_heads", "num_key_value_heads"}) &&
      config.num_attention_heads % config.num_key_value_heads != 0) {
    reader.mistake("num_attention_heads {} is not a multiple of num_key_value_heads {}", config.num_attention_heads,
                   config.num_key_value_heads);
  }
  if (reader.read_well({"hidden_size", "num_attention_heads", "head_dim"}) && config.head_dim % 2 != 0)
    reader.mistake("head_dim {} is odd; rotary embedding turns pairs", config.head_dim);
}

// What a plain LLaMA has; anything else changes its outputs.
void check_plain_fields(const Json& json, Reader& reader) {
  reader.require_plain("model_type", "llama");
  reader.require_plain("hidden_act", "silu");
  for (const char* key : {"attention_bias", "mlp_bias", "use_sliding_window", "tie_encoder_decoder"}) {
    reader.require_plain(key, false);
  }
  for (const char* key : {"attention_dropout", "hidden_dropout", "embd_pdrop"}) {
    const Json* value = reader.find(key);
    if (value != nullptr && *value != 0 && *value != 0.0) reader.require_plain(key, 0.0);
  }
  if (const Json* value = reader.find("partial_rotary_factor"); value != nullptr && *value != 1 && *value != 1.0) {
    reader.require_plain("partial_rotary_factor", 1);
  }
  for (const char* key : {"quantization_config", "sliding_window"}) reader.require_plain(key, nullptr);
  for (const auto& [key, value] : json.items()) {
    if (!is_known_config_field(key) && !value.is_null()) {
      reader.mistake("field {} is not known here and might change the result; remove it if it has no effect", key);
    }
    // It could not be written back, and no field of a model's shape has a use for it.
    if (reader.read_well({key.c_str()}) && value.is_number_float() && !std::isfinite(value.get<double>())) {
      reader.mistake("{} is {}; remove it or give a number", key, describe(value));
    }
  }
}

// In floating point where the sizes may be anything.
template <class Number>
Number count_parameters(const LlamaConfig& config) {
  const auto hidden = static_cast<Number>(config.hidden_size);
  const Number attention = hidden * static_cast<Number>(config.qkv_size() + config.attention_size());
  const Number layer = attention + 3 * hidden * static_cast<Number>(config.intermediate_size) + 2 * hidden;
  const Number embedding = static_cast<Number>(config.vocab_size) * hidden;
  return static_cast<Number>(config.num_hidden_layers) * layer + hidden +
         embedding * (config.tie_word_embeddings ? 1 : 2);
}

// Sizes that are fine one by one.
void check_parameters(const LlamaConfig& config, Reader& reader) {
  constexpr double most = 0x1p50;  // a thousand times what any model has; their bytes are still countable
  const double count = count_parameters<double>(config);
  if (count > most) {
    reader.mistake("these sizes make {:.3g} parameters, more than the {:.3g} that can be; is one of them a slip?",
                   count, most);
  }
}

}  // namespace

std::int64_t LlamaConfig::parameter_count() const { return count_parameters<std::int64_t>(*this); }

LlamaConfig llama_config_from_json(const Json& json, std::string_view where) {
  if (!json.is_object()) throw_input("model", "{}: must be an object, is {}", where, describe(json));
  Reader reader(json, where);
  LlamaConfig config;
  config.source = json;
  config.vocab_size = reader.size("vocab_size", std::nullopt);
  config.hidden_size = reader.size("hidden_size", std::nullopt);
  config.intermediate_size = reader.size("intermediate_size", std::nullopt);
  config.num_hidden_layers = reader.size("num_hidden_layers", std::nullopt);
  constexpr std::int64_t most_layers = 4096;  // many times what any model has, few enough to list their shapes
  if (config.num_hidden_layers > most_layers) {
    reader.mistake("num_hidden_layers must be at most {}, is {}", most_layers, config.num_hidden_layers);
  }
  config.num_attention_heads = reader.size("num_attention_heads", std::nullopt);
  config.num_key_value_heads = reader.size("num_key_value_heads", config.num_attention_heads);
  config.head_dim = reader.size("head_dim", std::max<std::int64_t>(1, config.hidden_size / config.num_attention_heads));
  // LLaMA's first conversions (2023) have another word for it.
  const bool old_word = reader.find("max_position_embeddings") == nullptr;
  config.max_position_embeddings = reader.size(old_word ? "max_sequence_length" : "max_position_embeddings", 2048);
  config.rms_norm_eps = reader.number("rms_norm_eps", 1e-6);
  reader.read_rope(config);
  config.initializer_range = reader.number("initializer_range", 0.02);
  config.tie_word_embeddings = reader.flag("tie_word_embeddings");
  config.bos_token_id = reader.token_id("bos_token_id");
  config.eos_token_id = reader.token_id("eos_token_id");
  config.pad_token_id = reader.token_id("pad_token_id");
  check_heads(config, reader);
  check_parameters(config, reader);
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
  json.erase("rope_parameters");  // transformers 5's word for rope_theta and rope_scaling, which every version reads
  json["initializer_range"] = config.initializer_range;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  if (config.rope_scaling.kind != RopeScaling::Kind::none) {
    const char* kind = config.rope_scaling.kind == RopeScaling::Kind::linear ? "linear" : "dynamic";
    // Under both words: transformers before 4.43 knows "type" alone.
    json["rope_scaling"] = {{"rope_type", kind}, {"type", kind}, {"factor", config.rope_scaling.factor}};
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
