#include "rrhf/checkpoint/reward_folder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/shape_text.h"
#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view head_name = "score.weight";
constexpr std::array beside{head_name};

// A reward model of another family deserves more than "model_type must be llama": there is a way for it.
void require_llama(const fs::path& folder) {
  const fs::path file = folder / "config.json";
  if (!fs::exists(file)) return;  // load_config() says so
  require_regular_file(file);
  const Json json = parse_json(read_file(file), "reward", file.string(), {.comments = true});
  if (!json.is_object() || !json.contains("model_type") || !json["model_type"].is_string()) return;
  if (json["model_type"] == "llama") return;
  throw_input("reward",
              "{}: is a {} model; only LLaMA reward models are run here. Score the rows with its own program and take "
              "the scores over with rrhf score --merge (docs/rewards.md, \"Scores from outside\")",
              folder.string(), json["model_type"].get<std::string>());
}

// What a folder without score.weight is instead, and the way out.
std::string_view other_kind(const TensorSource& source) {
  const auto has = [&](std::string_view part) {
    return std::ranges::any_of(source.tensors(),
                               [&](const TensorInfo& info) { return info.name.find(part) != std::string::npos; });
  };
  if (has("v_head.") || has("value_head") || has("value_out")) {
    return "it has a value head instead, as PPO programs save it, which is read otherwise; score with that program and "
           "use --merge";
  }
  if (source.find("lm_head.weight") != nullptr) {
    return "it is a language model (lm_head.weight); --model takes its log-probs as scores";
  }
  return "it is a LLaMA without any head (a tied language model, for which --model is right, or a bare backbone)";
}

void require_score_head(const TensorSource& source, const model::LlamaConfig& config) {
  const TensorInfo* head = source.find(head_name);
  if (head == nullptr) {
    throw_input("reward", "{}: has no score head (score.weight [1, {}], as LlamaForSequenceClassification has it): {}",
                source.path().string(), config.hidden_size, other_kind(source));
  }
  const std::vector<std::int64_t> wanted{1, config.hidden_size};
  if (head->shape != wanted) {
    const bool classes = head->shape.size() == 2 && head->shape[0] > 1;
    throw_input("reward", "{}: score.weight is {}, a reward needs {}{}", source.path().string(),
                shape_text(head->shape), shape_text(wanted),
                classes ? ": this is a classifier of several labels (num_labels must be 1)" : "");
  }
}

}  // namespace

model::LlamaConfig load_reward_config(const fs::path& folder) {
  require_llama(folder);
  model::LlamaConfig config = load_config(folder);
  require_score_head(TensorSource(folder), config);
  config.tie_word_embeddings = true;  // there is no lm_head to look for
  return config;
}

RewardModelParts load_reward_model(const fs::path& folder, const model::LlamaConfig& config, at::ScalarType dtype,
                                   at::Device device) {
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  model::Weights weights = load_weights(folder, config, dtype, device, beside);
  const TensorSource source(folder);
  at::Tensor head = at::empty({1, config.hidden_size}, options);
  head.copy_(source.tensor(*source.find(head_name)));
  return {model::Llama(config, std::move(weights)), model::ScoreHead(std::move(head))};
}

}  // namespace rrhf::checkpoint
