// A model as a Hugging Face folder: config.json, weights (checkpoint/tensor_source.h says which files), tokenizer
// files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "rrhf/checkpoint/folder_writer.h"
#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {

/// The config of a folder. Throws InputError when the folder or its config.json is missing or not a LLaMA.
model::LlamaConfig load_config(const std::filesystem::path& folder);

/// All weights of a folder in `dtype` on `device`. Files are mapped and each tensor is copied once, into its place.
/// Rotary inv_freq buffers of old files are passed over. A missing lm_head.weight is taken as tied when the config
/// ties. Throws InputError naming all missing, unexpected and wrongly shaped tensors together.
model::Weights load_weights(const std::filesystem::path& folder, const model::LlamaConfig& config, at::ScalarType dtype,
                            at::Device device);

/// The `rrhf.json` that a model trained with the released encoding carries: how sequences begin.
struct EncodingNote {
  Encoding encoding = Encoding::plain;
  BosToken bos_token = BosToken::model;
};

/// The note of a folder, or nothing when it has none.
std::optional<EncodingNote> load_encoding_note(const std::filesystem::path& folder);

struct SaveOptions {
  Dtype dtype = Dtype::float32;
  std::int64_t shard_bytes = default_shard_bytes;
  std::filesystem::path tokenizer_from;       ///< folder whose tokenizer files are carried along; may be empty
  std::optional<EncodingNote> encoding_note;  ///< written for the released encoding
};

/// Writes the model into `folder`, which must be where a StagedFolder builds: nothing here renames.
/// Throws Error when a file can't be written.
void save_model(const std::filesystem::path& folder, const model::Weights& weights, const model::LlamaConfig& config,
                const SaveOptions& options);

}  // namespace rrhf::checkpoint
