// A reward model as a Hugging Face folder: transformers' LlamaForSequenceClassification with one label.
//
// Its tensors are a LLaMA's without lm_head, and score.weight [1, D].
#pragma once

#include <filesystem>

#include "rrhf/model/llama.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/score_head.h"

namespace rrhf::checkpoint {

/// The config of a reward model's folder; nothing of the weights but their names is read.
/// Throws InputError when the folder or config.json is missing, when it is another kind of model (saying which, and how
/// rrhf score takes that one), or when score.weight is missing or has another shape than [1, D].
model::LlamaConfig load_reward_config(const std::filesystem::path& folder);

struct RewardModelParts {
  model::Llama llama;
  model::ScoreHead head;
};

/// The backbone and the head in `dtype` on `device`. `config` is load_reward_config()'s.
/// Throws InputError naming all missing, unexpected and wrongly shaped tensors together.
RewardModelParts load_reward_model(const std::filesystem::path& folder, const model::LlamaConfig& config,
                                   at::ScalarType dtype, at::Device device);

}  // namespace rrhf::checkpoint
