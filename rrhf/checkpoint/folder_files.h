// The small files of a model folder: config.json, and what is carried from one folder to the next.
#pragma once

#include <c10/core/ScalarType.h>

#include <filesystem>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/core/sha256.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

/// Writes indented JSON, whole or not at all. Throws Error when it can't be written.
void write_json(const std::filesystem::path& path, const Json& json);

/// The word of a dtype of checkpoints. Throws Error for one that is none.
Dtype dtype_choice(at::ScalarType dtype);

/// Writes config.json for weights of `dtype`, and where no generation_config.json was carried over one with the special
/// ids: BOS and EOS of the tokenizer that lies in the folder, else those of the config.
/// Throws InputError when that tokenizer can't be read, Error when a file can't be written.
void write_configs(const std::filesystem::path& folder, const model::LlamaConfig& config, Dtype dtype);

/// Warns where the config has other ids for BOS and EOS than the tokenizer in the folder, which may have none.
/// LLaMA's first conversions say 0 and 1, which mean <unk> and <s>.
void warn_of_other_ids(const std::filesystem::path& folder, const model::LlamaConfig& config);

/// What identifies the small files of a folder: config.json, the tokenizer's, generation_config.json and rrhf.json,
/// those that are there. Throws InputError when one can't be read or is no regular file.
std::vector<FileHash> hash_small_files(const std::filesystem::path& folder);

/// The small files that a model keeps of the folder it is made from. They are read and checked by the constructor, so
/// before work that takes long, and written after it.
class CarriedFiles {
 public:
  enum class What {
    tokenizer,                      ///< the tokenizer's files
    tokenizer_and_generation,       ///< and generation_config.json
    tokenizer_generation_and_note,  ///< and rrhf.json: for weights that are the same, or mean the same
    generation_and_note             ///< these two alone
  };

  /// Each may be missing. Content is carried byte for byte but for what LLaMA's first conversions have wrong: a
  /// tokenizer_config.json that names a class LLaMATokenizer, which transformers lacks, names LlamaTokenizer after;
  /// special tokens declared as "" get the spellings that tokenizer.model has for them; and a generation_config.json
  /// made of a config gets the tokenizer's ids for BOS and EOS. Throws InputError, naming the file, for one that is no
  /// regular file, no JSON object where one is needed, or a tokenizer or note that can't be read.
  CarriedFiles(const std::filesystem::path& from, What what);

  /// Writes them into a folder. Throws Error when one can't be written.
  void write(const std::filesystem::path& to) const;

 private:
  struct File {
    std::string name;
    std::string content;
  };
  std::vector<File> files_;
};

}  // namespace rrhf::checkpoint
