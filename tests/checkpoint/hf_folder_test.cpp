#include "rrhf/checkpoint/hf_folder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <filesystem>
#include <thread>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/initial_model.h"
#include "rrhf/checkpoint/tensor_file.h"
#include "rrhf/checkpoint/training_state.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "tests/core/support.h"

namespace rrhf::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;

class HfFolder : public ::testing::Test {
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
  const fs::path folder = saved("one", {.made_from = {}, .encoding_note = {}});
  const model::LlamaConfig config = load_config(folder);
  EXPECT_EQ(config.num_key_value_heads, 2);
  expect_equal(load_weights(folder, config, at::kFloat, at::kCPU));
  EXPECT_FALSE(load_encoding_note(folder).has_value());
}

TEST_F(HfFolder, RandomWeightsAreWrittenAsTheyAreDrawn) {
  // weights_ is the same seed's, drawn into memory.
  for (const Dtype dtype : {Dtype::float32, Dtype::bfloat16}) {
    const fs::path out = root_ / std::string(name_of(dtype));
    init_model({.config = config_, .tokenizer = root_, .out = out, .seed = 1, .dtype = dtype});
    const model::Weights got = load_weights(out, load_config(out), at::kFloat, at::kCPU);
    const auto a = got.tensors(), b = weights_.tensors();
    for (std::size_t i = 0; i < b.size(); ++i) {
      EXPECT_TRUE(at::equal(a[i], b[i].to(model::scalar_type(dtype)).to(at::kFloat))) << i;
    }
    EXPECT_EQ(TensorSource(out).tensors().front().dtype, model::scalar_type(dtype));
  }
}

TEST_F(HfFolder, SplitsIntoShardsWithAnIndex) {
  const fs::path folder = saved("shards", {.shard_bytes = 600, .made_from = {}, .encoding_note = {}});
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  const Json index = parse_json(read_file(folder / "model.safetensors.index.json"), "test", "index");
  EXPECT_EQ(index["weight_map"].size(), 2 + 2 * 9 + 1u);
  EXPECT_EQ(index["metadata"]["total_size"], 4 * config_.parameter_count());
  expect_equal(load_weights(folder, config_, at::kFloat, at::kCPU));
}

TEST_F(HfFolder, CarriesTheEncodingNote) {
  const fs::path folder =
      saved("note", {.made_from = {}, .encoding_note = EncodingNote{Encoding::released, BosToken::eos}});
  const auto note = load_encoding_note(folder);
  ASSERT_TRUE(note.has_value());
  EXPECT_EQ(note->encoding, Encoding::released);
  EXPECT_EQ(note->bos_token, BosToken::eos);
}

TEST_F(HfFolder, KeepsTheTokenizerAndTheGenerationConfigOfTheModelItWasMadeFrom) {
  const fs::path from = root_ / "from";
  fs::create_directories(from);
  config_.eos_token_id = 2;
  write_file_atomically(from / "added_tokens.json", "{ }");
  write_file_atomically(from / "rrhf.json", "of another encoding");
  const auto saved_from = [&](const char* name) { return saved(name, {.made_from = from, .encoding_note = {}}); };
  const fs::path fresh = saved_from("fresh");
  EXPECT_EQ(read_file(fresh / "added_tokens.json"), "{ }");
  EXPECT_FALSE(fs::exists(fresh / "rrhf.json"));
  const Json generation = parse_json(read_file(fresh / "generation_config.json"), "test", "generation config");
  EXPECT_EQ(generation, Json({{"_from_model_config", true}, {"eos_token_id", 2}}));
  const std::string own = R"({"temperature": 0.25,  "eos_token_id": [2, 3]})";
  write_file_atomically(from / "generation_config.json", own);
  EXPECT_EQ(read_file(saved_from("carried") / "generation_config.json"), own);
}

TEST_F(HfFolder, NamesATokenizerClassThatTransformersHas) {
  const auto carried = [&](const std::string& text) {
    const fs::path from = root_ / "from", to = root_ / "to";
    for (const fs::path& folder : {from, to}) fs::create_directories(folder);
    write_file_atomically(from / "tokenizer_config.json", text);
    CarriedFiles(from, CarriedFiles::What::tokenizer).write(to);
    return read_file(to / "tokenizer_config.json");
  };
  const Json old = parse_json(carried(R"({"tokenizer_class": "LLaMATokenizer", "bos_token": ""})"), "test", "config");
  EXPECT_EQ(old, Json({{"tokenizer_class", "LlamaTokenizer"}, {"bos_token", ""}}));
  // All else is copied byte for byte.
  for (const char* text : {R"({"tokenizer_class":  "LlamaTokenizer"})", R"({"name":  "LLaMATokenizer"})",
                           R"({"tokenizer_class":  "MyLLaMATokenizer"})", "{}"}) {
    EXPECT_EQ(carried(text), text);
  }
  EXPECT_TRUE(holds(error_of([&] { carried(R"(["LLaMATokenizer"])"); }), "is an array of 1; an object is needed"));
}

TEST_F(HfFolder, LoadedWeightsAreNotTheFile) {
  const fs::path folder = saved("copy", {.made_from = {}, .encoding_note = {}});
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

// Tensors filled with a number of their own, handed out in units of `per_unit`.
TensorUnits filled_units(const model::LlamaConfig& config, std::size_t per_unit, double first) {
  const auto shapes = model::tensor_shapes(config);
  TensorUnits units;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (i % per_unit == 0) units.units.emplace_back();
    units.units.back().push_back(i);
  }
  units.whole = [shapes, first, numbers = units.units](std::size_t unit) {
    std::vector<at::Tensor> tensors;
    for (const std::size_t i : numbers[unit]) tensors.push_back(at::full(shapes[i], first + static_cast<double>(i)));
    return tensors;
  };
  return units;
}

TensorUnits units_of(const model::Weights& weights) {
  TensorUnits units;
  for (std::size_t i = 0; i < weights.tensors().size(); ++i) units.units.push_back({i});
  units.whole = [tensors = weights.tensors()](std::size_t unit) { return std::vector<at::Tensor>{tensors[unit]}; };
  return units;
}

void expect_moments(const fs::path& checkpoint, const model::LlamaConfig& config, double first, double second) {
  const TrainingStateReader state(checkpoint, config);
  EXPECT_EQ(state.facts().step, 15);
  EXPECT_EQ(state.facts().data_fingerprint, "abc");
  const auto shapes = model::tensor_shapes(config);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    // Any range: here from the second element on.
    const at::Tensor values = at::zeros({at::empty(shapes[i], at::kMeta).numel() - 1});
    state.read_first(i, 1, values);
    EXPECT_TRUE(at::all(values == first + static_cast<double>(i)).item<bool>()) << i;
    state.read_second(i, 1, values);
    EXPECT_TRUE(at::all(values == second + static_cast<double>(i)).item<bool>()) << i;
  }
}

TEST_F(HfFolder, CheckpointsKeepTheNewestAndGiveMomentsBack) {
  const SaveOptions options{.made_from = {}, .encoding_note = {}};
  const TrainingTensors tensors{.set = config_,
                                .masters = units_of(weights_),
                                .first_moments = filled_units(config_, 1, 0.5),
                                .second_moments = filled_units(config_, 1, 200)};
  for (const std::int64_t step : {5, 10, 15}) {
    save_checkpoint(root_, tensors, options, {.step = step, .data_fingerprint = "abc"}, 2);
  }
  EXPECT_FALSE(fs::exists(root_ / "checkpoints/step-000005"));
  EXPECT_TRUE(fs::exists(root_ / "checkpoints/step-000010"));
  const auto latest = latest_checkpoint(root_);
  ASSERT_TRUE(latest.has_value());
  EXPECT_EQ(latest->filename(), "step-000015");
  EXPECT_TRUE(fs::exists(*latest / "training_state.safetensors"));
  expect_moments(*latest, config_, 0.5, 200);
  expect_equal(load_weights(*latest, config_, at::kFloat, at::kCPU));

  model::LlamaConfig other = config_;
  other.num_hidden_layers += 1;
  EXPECT_THROW(TrainingStateReader(*latest, other), InputError);
}

// One of several processes that write, on a thread of its own.
class ThreadWriters : public Writers {
 public:
  struct Shared {
    explicit Shared(std::size_t size) : arrive(static_cast<std::ptrdiff_t>(size)), words(size) {}
    std::barrier<> arrive;
    std::vector<std::string> words;
  };
  ThreadWriters(Shared& shared, std::size_t rank) : shared_(&shared), rank_(rank) {}
  std::size_t rank() const override { return rank_; }
  std::size_t size() const override { return shared_->words.size(); }
  std::vector<std::string> meet(const std::string& word) const override {
    shared_->words[rank_] = word;
    shared_->arrive.arrive_and_wait();
    std::vector<std::string> words = shared_->words;
    shared_->arrive.arrive_and_wait();
    return words;
  }

 private:
  Shared* shared_;
  std::size_t rank_;
};

TEST_F(HfFolder, SeveralProcessesWriteOneCheckpointThatAnyNumberReads) {
  constexpr std::size_t count = 3;
  ThreadWriters::Shared shared(count);
  std::vector<std::jthread> threads;
  for (std::size_t rank = 0; rank < count; ++rank) {
    threads.emplace_back([this, &shared, rank] {
      const TrainingTensors tensors{.set = config_,
                                    .masters = units_of(weights_),
                                    .first_moments = filled_units(config_, 4, 0.5),
                                    .second_moments = filled_units(config_, 4, 200)};
      save_checkpoint(root_, tensors, {.made_from = {}, .encoding_note = {}}, {.step = 15, .data_fingerprint = "abc"},
                      2, ThreadWriters(shared, rank));
    });
  }
  threads.clear();
  const fs::path folder = root_ / "checkpoints/step-000015";
  for (int i = 1; i <= 3; ++i) {
    EXPECT_TRUE(fs::exists(folder / fmt::format("model-{:05}-of-00003.safetensors", i)));
    EXPECT_TRUE(fs::exists(folder / fmt::format("training_state-{:05}-of-00003.safetensors", i)));
  }
  expect_moments(folder, config_, 0.5, 200);
  expect_equal(load_weights(folder, config_, at::kFloat, at::kCPU));
}

TEST_F(HfFolder, ACheckpointThatDoesNotFitOnTheDiskIsNotBegun) {
  model::LlamaConfig huge = config_;
  huge.vocab_size = std::int64_t{1} << 47;
  const auto save = [&] { save_checkpoint(root_, {.set = huge}, {}, {.step = 1, .data_fingerprint = "abc"}, 1); };
  try {
    save();
    FAIL() << "accepted";
  } catch (const Error& error) {
    // Two embeddings of 2^47 x 8, two layers of 352 and a norm of 8; model and two moments, 4 bytes each.
    EXPECT_NE(std::string(error.what()).find("checkpoints: 27,021,597,764,231,520 bytes are to be written there"),
              std::string::npos)
        << error.what();
  }
  EXPECT_TRUE(fs::is_empty(root_ / "checkpoints"));
}

TEST_F(HfFolder, ReadsAnyRangeOfATensor) {
  const fs::path folder = saved("ranges", {.made_from = {}, .encoding_note = {}});
  const WeightReader reader(folder, config_);
  const std::vector<at::Tensor> tensors = weights_.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    // Cuts in three, none at the border of query, key and value.
    const std::int64_t size = tensors[i].numel(), third = size / 3 + 1;
    const at::Tensor values = at::zeros({size});
    for (std::int64_t begin = 0; begin < size; begin += third) {
      reader.read(i, begin, values.narrow(0, begin, std::min(third, size - begin)));
    }
    EXPECT_TRUE(at::equal(values.view(tensors[i].sizes()), tensors[i])) << i;
  }
}

TEST_F(HfFolder, AFolderWithoutCheckpointsHasNone) { EXPECT_FALSE(latest_checkpoint(root_).has_value()); }

}  // namespace
}  // namespace rrhf::checkpoint
