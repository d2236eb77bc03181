#include "rrhf/checkpoint/hf_folder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "rrhf/checkpoint/tensor_file.h"
#include "rrhf/checkpoint/training_state.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf::checkpoint {
namespace {

namespace fs = std::filesystem;

class HfFolder : public testing::Test {
 protected:
  HfFolder() : root_(fs::temp_directory_path() / ("rrhf-hf-" + std::to_string(::getpid()))) {
    fs::remove_all(root_);
    fs::create_directories(root_);
    config_.vocab_size = 9;
    config_.hidden_size = 8;
    config_.intermediate_size = 6;
    config_.num_hidden_layers = 2;
    config_.num_attention_heads = 4;
    config_.num_key_value_heads = 2;
    config_.head_dim = 2;
    weights_ = model::empty_weights(config_, at::TensorOptions().dtype(at::kFloat));
    model::initialize(weights_, config_, 1);
  }
  ~HfFolder() override { fs::remove_all(root_); }

  fs::path saved(const char* name, const SaveOptions& options) {
    fs::create_directories(root_ / name);
    save_model(root_ / name, weights_, config_, options);
    return root_ / name;
  }

  std::string refusal(const fs::path& folder, const model::LlamaConfig& config) {
    try {
      load_weights(folder, config, at::kFloat, at::kCPU);
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  }

  void expect_equal(const model::Weights& got) {
    const auto a = got.tensors(), b = weights_.tensors();
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << i;
  }

  fs::path root_;
  model::LlamaConfig config_;
  model::Weights weights_;
};

TEST_F(HfFolder, GivesBackWhatWasSaved) {
  const fs::path folder = saved("one", {.tokenizer_from = {}, .encoding_note = {}});
  const model::LlamaConfig config = load_config(folder);
  EXPECT_EQ(config.num_key_value_heads, 2);
  expect_equal(load_weights(folder, config, at::kFloat, at::kCPU));
  EXPECT_FALSE(load_encoding_note(folder).has_value());
}

TEST_F(HfFolder, SplitsIntoShardsWithAnIndex) {
  const fs::path folder = saved("shards", {.shard_bytes = 600, .tokenizer_from = {}, .encoding_note = {}});
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  const Json index = parse_json(read_file(folder / "model.safetensors.index.json"), "test", "index");
  EXPECT_EQ(index["weight_map"].size(), 2 + 2 * 9 + 1u);
  EXPECT_EQ(index["metadata"]["total_size"], 4 * config_.parameter_count());
  expect_equal(load_weights(folder, config_, at::kFloat, at::kCPU));
}

TEST_F(HfFolder, CarriesTheEncodingNote) {
  const fs::path folder =
      saved("note", {.tokenizer_from = {}, .encoding_note = EncodingNote{Encoding::released, BosToken::eos}});
  const auto note = load_encoding_note(folder);
  ASSERT_TRUE(note.has_value());
  EXPECT_EQ(note->encoding, Encoding::released);
  EXPECT_EQ(note->bos_token, BosToken::eos);
}

TEST_F(HfFolder, LoadedWeightsAreNotTheFile) {
  const fs::path folder = saved("copy", {.tokenizer_from = {}, .encoding_note = {}});
  const std::string before = read_file(folder / "model.safetensors");
  for (at::Tensor& tensor : load_weights(folder, config_, at::kFloat, at::kCPU).tensors()) tensor.fill_(3);
  EXPECT_EQ(read_file(folder / "model.safetensors"), before);
}

TEST_F(HfFolder, NamesMissingUnexpectedAndMisshapenTensorsTogether) {
  const fs::path folder = root_ / "broken";
  fs::create_directories(folder);
  auto named = model::named_tensors(weights_, config_);
  named.erase(named.begin() + 3);  // k_proj of layer 0
  named.push_back({"model.extra.weight", at::zeros({2})});
  named.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({1})});  // passed over
  named.front().view = at::zeros({10, 8});
  write_tensor_file(folder / "model.safetensors", named, at::kFloat);
  const std::string message = refusal(folder, config_);
  EXPECT_NE(message.find("model.embed_tokens.weight is [10, 8], the config asks for [9, 8]"), std::string::npos)
      << message;
  EXPECT_NE(message.find("missing: model.layers.0.self_attn.k_proj.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("not part of a LLaMA of this config: model.extra.weight"), std::string::npos) << message;
  EXPECT_EQ(message.find("inv_freq"), std::string::npos) << message;
}

TEST_F(HfFolder, RefusesAnIndexThatLeavesTheFolder) {
  const fs::path folder = root_ / "escape";
  fs::create_directories(folder);
  write_file_atomically(folder / "model.safetensors.index.json",
                        R"({"weight_map": {"model.norm.weight": "../one/model.safetensors"}})");
  EXPECT_NE(refusal(folder, config_).find("a file in the same folder is needed"), std::string::npos);
}

TEST_F(HfFolder, SaysWhatIsMissingOfAFolder) {
  EXPECT_NE(refusal(root_, config_).find("holds no weights: neither model.safetensors nor"), std::string::npos);
  EXPECT_THROW(load_config(root_ / "nowhere"), InputError);
  EXPECT_THROW(load_config(root_), InputError);
}

TEST_F(HfFolder, CheckpointsKeepTheNewestAndGiveMomentsBack) {
  const SaveOptions options{.tokenizer_from = {}, .encoding_note = {}};
  TrainingState state{.step = 0,
                      .data_fingerprint = "abc",
                      .first_moments = {at::full({2, 3}, 0.5)},
                      .second_moments = {at::full({2, 3}, 2.0)}};
  for (state.step = 5; state.step <= 15; state.step += 5) save_checkpoint(root_, weights_, config_, options, state, 2);
  EXPECT_FALSE(fs::exists(root_ / "checkpoints/step-000005"));
  EXPECT_TRUE(fs::exists(root_ / "checkpoints/step-000010"));
  const auto latest = latest_checkpoint(root_);
  ASSERT_TRUE(latest.has_value());
  EXPECT_EQ(latest->filename(), "step-000015");

  TrainingState loaded{
      .step = 0, .data_fingerprint = {}, .first_moments = {at::zeros({2, 3})}, .second_moments = {at::zeros({2, 3})}};
  load_training_state(*latest, loaded);
  EXPECT_EQ(loaded.step, 15);
  EXPECT_EQ(loaded.data_fingerprint, "abc");
  EXPECT_TRUE(at::all(loaded.first_moments[0] == 0.5).item<bool>());
  EXPECT_TRUE(at::all(loaded.second_moments[0] == 2).item<bool>());
  expect_equal(load_weights(*latest, config_, at::kFloat, at::kCPU));

  TrainingState other{
      .step = 0, .data_fingerprint = {}, .first_moments = {at::zeros({3})}, .second_moments = {at::zeros({3})}};
  EXPECT_THROW(load_training_state(*latest, other), InputError);
}

TEST_F(HfFolder, AFolderWithoutCheckpointsHasNone) { EXPECT_FALSE(latest_checkpoint(root_).has_value()); }

}  // namespace
}  // namespace rrhf::checkpoint
