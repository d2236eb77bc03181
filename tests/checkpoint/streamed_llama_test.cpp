#include "rrhf/checkpoint/streamed_llama.h"

#include <ATen/ATen.h>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/model/llama.h"
#include "tests/core/support.h"

namespace rrhf::checkpoint {
namespace {

constexpr std::array<std::int32_t, 5> tokens{1, 4, 7, 0, 3};

model::LlamaConfig small_config(bool tied) {
  model::LlamaConfig config;
  config.vocab_size = 9;
  config.hidden_size = 8;
  config.intermediate_size = 6;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 2;
  config.tie_word_embeddings = tied;
  config.initializer_range = 0.5;  // so that every layer matters
  return config;
}

// The whole model's logits after the last of the tokens.
at::Tensor whole_model_logits(const model::LlamaConfig& config, model::Weights weights) {
  const std::array<std::int32_t, 1> label{0};
  const std::array inputs{model::PackInput{.prompt = tokens, .responses = {label}}};
  return model::Llama(config, std::move(weights)).logits(model::make_pack(inputs, at::kCPU))[tokens.size() - 1];
}

class StreamedLlamaOf : public ::testing::TestWithParam<bool> {};

TEST_P(StreamedLlamaOf, GivesTheLogitsOfTheWholeModel) {
  const testing::TemporaryFolder folder;
  const model::LlamaConfig config = small_config(GetParam());
  model::Weights weights = model::empty_weights(config, at::TensorOptions().dtype(at::kFloat));
  model::initialize(weights, config, 1);
  save_model(folder.path(), weights, config,
             {.dtype = Dtype::float16, .shard_bytes = 300, .made_from = {}, .encoding_note = {}});
  const at::Tensor expected = whole_model_logits(config, load_weights(folder.path(), config, at::kFloat, at::kCPU));

  const StreamedLlama streamed(folder.path());
  std::int64_t told = 0;
  const at::Tensor logits_V = streamed.next_logits(tokens, [&](std::int64_t bytes) { told += bytes; });
  EXPECT_TRUE(at::allclose(logits_V, expected, 1e-5, 1e-6));
  EXPECT_EQ(streamed.bytes(), 2 * config.parameter_count());
  // All but the embedding, of which single rows are read, and the last norm.
  const std::int64_t embedding = GetParam() ? 0 : config.vocab_size * config.hidden_size;
  EXPECT_EQ(told, streamed.bytes() - 2 * (embedding + config.hidden_size));
}

INSTANTIATE_TEST_SUITE_P(Heads, StreamedLlamaOf, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tied" : "Untied"; });

TEST(StreamedLlama, RefusesTensorsThatDoNotFitTheConfig) {
  const testing::TemporaryFolder folder;
  const SaveOptions options{.made_from = {}, .encoding_note = {}};
  const auto saved_under = [&](const model::LlamaConfig& config, const model::LlamaConfig& other) {
    save_model(folder.path(), model::zero_weights(config, at::TensorOptions().dtype(at::kFloat)), config, options);
    write_configs(folder.path(), other, Dtype::float32);
  };
  saved_under(small_config(false), small_config(true));
  EXPECT_NO_THROW(StreamedLlama{folder.path()});
  saved_under(small_config(true), small_config(false));
  EXPECT_TRUE(testing::holds(testing::error_of([&] { StreamedLlama{folder.path()}; }), "missing: lm_head.weight"));
}

}  // namespace
}  // namespace rrhf::checkpoint
