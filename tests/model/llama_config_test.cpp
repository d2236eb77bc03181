#include "rrhf/model/llama_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "rrhf/core/error.h"

namespace rrhf::model {
namespace {

Json small() {
  return Json::parse(R"({"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 12,
                         "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2})");
}

std::string mistake(Json config, const char* key, Json value) {
  config[key] = std::move(value);
  try {
    llama_config_from_json(config, "config.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(LlamaConfig, CountsParameters) {
  // qkv (4+4)*2 x 8 = 128, o 8x8 = 64, MLP 3*8*12 = 288, norms 16: 496 a layer; 2*496 + 8 + 2*32*8 = 1512
  EXPECT_EQ(llama_config_from_json(small(), "config.json").parameter_count(), 1512);
}

TEST(LlamaConfig, TakesDefaultsOfTheLibraryItComesFrom) {
  const LlamaConfig config = llama_config_from_json(small(), "config.json");
  EXPECT_EQ(config.head_dim, 2);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_FALSE(config.tie_word_embeddings);
}

TEST(LlamaConfig, RefusesMoreLayersThanAnyModelHas) {
  EXPECT_EQ(mistake(small(), "num_hidden_layers", 4096), "accepted");
  EXPECT_NE(mistake(small(), "num_hidden_layers", 4097).find("must be at most 4096, is 4097"), std::string::npos);
}

TEST(LlamaConfig, RefusesWhatWouldChangeTheResult) {
  const std::pair<const char*, Json> changes[] = {{"hidden_act", "gelu"},
                                                  {"attention_bias", true},
                                                  {"mlp_bias", true},
                                                  {"quantization_config", {{"bits", 4}}},
                                                  {"sliding_window", 4096},
                                                  {"tie_encoder_decoder", true},
                                                  {"model_type", "mistral"},
                                                  {"attention_dropout", 0.1},
                                                  {"rope_parameters", {{"rope_type", "yarn"}, {"factor", 2.0}}},
                                                  {"rope_theta", std::nan("")},
                                                  {"temperature", std::numeric_limits<double>::infinity()},
                                                  {"partial_rotary_factor", 0.5}};
  for (const auto& [key, value] : changes) {
    const std::string message = mistake(small(), key, value);
    EXPECT_NE(message.find(std::string("config.json: ") + key), std::string::npos) << message;
  }
  EXPECT_NE(mistake(small(), "attention_sinks", 4).find("field attention_sinks is not known"), std::string::npos);
}

TEST(LlamaConfig, AcceptsFieldsAtTheirPlainValue) {
  for (const auto& [key, value] : {std::pair<const char*, Json>{"attention_bias", false},
                                   {"sliding_window", nullptr},
                                   {"pretraining_tp", 2},
                                   {"tie_encoder_decoder", false},
                                   {"_attn_implementation_autoset", true},
                                   {"attention_dropout", 0.0},
                                   {"use_cache", true}}) {
    EXPECT_EQ(mistake(small(), key, value), "accepted") << key;
  }
}

TEST(LlamaConfig, ReadsRopeScalingInBothSpellings) {
  Json config = small();
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(llama_config_from_json(config, "c").rope_scaling.kind, RopeScaling::Kind::linear);
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  EXPECT_EQ(llama_config_from_json(config, "c").rope_scaling.factor, 4);
  EXPECT_NE(mistake(small(), "rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}).find("not implemented"),
            std::string::npos);
  EXPECT_NE(mistake(small(), "rope_scaling", {{"rope_type", "linear"}}).find("factor"), std::string::npos);
  EXPECT_NE(mistake(small(), "rope_scaling", {{"rope_type", "default"}, {"type", "linear"}, {"factor", 4.0}})
                .find("rope_scaling.rope_type is \"default\", its type \"linear\"; they must agree"),
            std::string::npos);
  config["rope_scaling"] = {{"rope_type", "dynamic"}, {"type", "dynamic"}, {"factor", 4.0}};
  EXPECT_EQ(to_json(llama_config_from_json(config, "c"))["rope_scaling"], config["rope_scaling"]);
}

// What transformers 5 writes in place of rope_theta and rope_scaling.
TEST(LlamaConfig, ReadsRopeParameters) {
  Json config = small();
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5000.0}};
  EXPECT_EQ(llama_config_from_json(config, "c").rope_theta, 5000);
  EXPECT_EQ(llama_config_from_json(config, "c").rope_scaling.kind, RopeScaling::Kind::none);
  config["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2.0}, {"rope_theta", 7000.0}};
  const LlamaConfig linear = llama_config_from_json(config, "c");
  EXPECT_EQ(linear.rope_theta, 7000);
  EXPECT_EQ(linear.rope_scaling.kind, RopeScaling::Kind::linear);
  EXPECT_EQ(linear.rope_scaling.factor, 2);
  const Json written = to_json(linear);  // as every version reads it
  EXPECT_FALSE(written.contains("rope_parameters"));
  EXPECT_EQ(written["rope_theta"], 7000);
  EXPECT_EQ(written["rope_scaling"]["rope_type"], "linear");
  config["rope_parameters"] = {{"rope_theta", 6000.0}};
  EXPECT_EQ(llama_config_from_json(config, "c").rope_theta, 6000);
}

TEST(LlamaConfig, RefusesRopeParametersItCannotFollow) {
  EXPECT_NE(
      mistake(small(), "rope_parameters", {{"rope_theta", 5.0}, {"beta_fast", 32}}).find("beta_fast is not known"),
      std::string::npos);
  EXPECT_NE(mistake(small(), "rope_parameters", {{"rope_theta", -5.0}}).find("rope_parameters: rope_theta must be"),
            std::string::npos);
  EXPECT_NE(mistake(small(), "rope_parameters", 5).find("rope_parameters must be an object"), std::string::npos);
  Json both = small();
  both["rope_theta"] = 10000.0;
  EXPECT_NE(mistake(both, "rope_parameters", {{"rope_theta", 5000.0}}).find("they must agree"), std::string::npos);
  EXPECT_EQ(mistake(both, "rope_parameters", {{"rope_theta", 10000.0}}), "accepted");
  both["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  EXPECT_NE(mistake(both, "rope_parameters", {{"rope_theta", 10000.0}}).find("keep one of them"), std::string::npos);
  EXPECT_NE(mistake(small(), "rope_scaling", {{"factor", 4.0}}).find("not implemented"), std::string::npos);
}

TEST(LlamaConfig, RefusesSizesThatAreBeyondCountingTogether) {
  Json config = small();
  config["num_hidden_layers"] = 4096;
  config["intermediate_size"] = 1 << 30;
  // 4096 x 6 x 2^60: half in the MLP; queries and the output 2^60, keys and values half.
  EXPECT_NE(mistake(config, "hidden_size", 1 << 30).find("these sizes make 2.83e+22 parameters"), std::string::npos)
      << mistake(config, "hidden_size", 1 << 30);
  EXPECT_EQ(mistake(small(), "vocab_size", 1 << 30), "accepted");
}

// One wrong size is one message, not also one about what was put in its place.
TEST(LlamaConfig, DoesNotComplainAboutWhatFollowsFromAMistake) {
  const std::string message = mistake(small(), "hidden_size", "64");
  EXPECT_EQ(message, "[model] config.json: hidden_size must be a whole number from 1, is a string");
}

TEST(LlamaConfig, NamesAllMistakesAtOnce) {
  Json config = small();
  config.erase("vocab_size");
  config["hidden_size"] = -8;
  config["hidden_act"] = "relu";
  const std::string message = mistake(config, "num_key_value_heads", 3);
  for (const char* words : {"vocab_size is missing", "hidden_size must be", "hidden_act is", "not a multiple"}) {
    EXPECT_NE(message.find(words), std::string::npos) << words << " in " << message;
  }
}

TEST(LlamaConfig, WritesBackWhatItRead) {
  Json config = small();
  config["transformers_version"] = "4.28.1";
  config["eos_token_id"] = 2;
  const Json written = to_json(llama_config_from_json(config, "c"));
  EXPECT_EQ(written["transformers_version"], "4.28.1");
  EXPECT_EQ(written["eos_token_id"], 2);
  EXPECT_EQ(written["head_dim"], 2);
  EXPECT_EQ(llama_config_from_json(written, "c").num_key_value_heads, 2);
}

}  // namespace
}  // namespace rrhf::model
