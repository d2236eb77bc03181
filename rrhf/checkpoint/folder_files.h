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

/// Writes config.json for weights of `dtype`, and a generation_config.json of the config's special ids where none was
/// carried over.
void write_configs(const std::filesystem::path& folder, const model::LlamaConfig& config, Dtype dtype);

/// Copies the tokenizer's files, those of them that are there. A tokenizer_config.json of LLaMA's first days names a
/// class LLaMATokenizer, which transformers lacks: the copy names LlamaTokenizer.
void carry_tokenizer(const std::filesystem::path& from, const std::filesystem::path& to);

/// The tokenizer's files and generation_config.json: what a model keeps of the one it was made from.
void carry_over(const std::filesystem::path& from, const std::filesystem::path& to);

/// The same and rrhf.json: what a model keeps whose weights are the same, or mean the same.
void carry_over_with_note(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace rrhf::checkpoint
