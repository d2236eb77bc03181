// Checkpoints of a run: folders output/checkpoints/step-NNNNNN.
//
// Each is a Hugging Face folder of the full-precision weights (so that it can be evaluated or trained from as it is)
// plus training_state.safetensors, the optimizer's moments under "first.<i>" and "second.<i>", and training_state.json.
// A folder appears under its name only when it is complete.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/checkpoint/hf_folder.h"

namespace rrhf::checkpoint {

/// What a run needs besides weights to go on as if it had not stopped.
struct TrainingState {
  std::int64_t step = 0;  ///< steps done
  std::string data_fingerprint;
  std::vector<at::Tensor> first_moments;  ///< in the order of Weights::tensors()
  std::vector<at::Tensor> second_moments;
};

/// Writes output/checkpoints/step-NNNNNN and removes the oldest beyond `keep`.
void save_checkpoint(const std::filesystem::path& output, const model::Weights& masters,
                     const model::LlamaConfig& config, const SaveOptions& options, const TrainingState& state,
                     std::int64_t keep);

/// The newest complete checkpoint of an output folder, if there is one.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& output);

/// Reads moments into the tensors `state` holds, and sets its step and fingerprint. Throws InputError where they do not
/// fit.
void load_training_state(const std::filesystem::path& checkpoint, TrainingState& state);

}  // namespace rrhf::checkpoint
