// The small files of a model folder: config.json, and what is carried from one folder to the next.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>

#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

/// Writes indented JSON, whole or not at all. Throws Error when it can't be written.
void write_json(const std::filesystem::path& path, const Json& json);

/// The word of a dtype of checkpoints. Throws Error for one that is none.
Dtype dtype_choice(at::ScalarType dtype);

/// Writes config.json for weights of `dtype`.
void write_config(const std::filesystem::path& folder, const model::LlamaConfig& config, Dtype dtype);

/// Copies the tokenizer's files, generation_config.json and rrhf.json, those of them that are there.
void carry_over(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace rrhf::checkpoint
