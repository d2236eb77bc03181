// Folders written anew: in another dtype, other shards, another vocabulary.
//
// What can be read (checkpoint/tensor_source.h: safetensors or .bin, whole or in shards) is written as safetensors,
// a block of a tensor in memory at a time, aside, with its config, generation config, tokenizer and rrhf.json.
// StopSignals ends the work with Interrupted and nothing left.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "rrhf/checkpoint/folder_writer.h"
#include "rrhf/core/choices.h"

namespace rrhf::checkpoint {

struct ConvertModel {
  std::filesystem::path from, out;
  std::optional<Dtype> dtype;  ///< kept as it is where none is named
  std::int64_t shard_bytes = default_shard_bytes;
};

struct Converted {
  std::int64_t parameters = 0;
  std::vector<FileHash> files;  ///< without hashes
};

/// Logs how many weights the new dtype makes zero and the first tensor with one; warns where a tensor loses many.
/// Throws InputError when the tensors don't fit the config, weights are beyond the new dtype's range (counted, the
/// first tensor named), or `out` is not free.
Converted convert_model(const ConvertModel& settings);

struct ResizeModel {
  std::filesystem::path from, out;
  std::int64_t rows = 0;  ///< rows of vocabulary of the new model
  RowFill fill = RowFill::mean;
  bool add_pad = false;  ///< give the tokenizer a [PAD] (text/pad_token.h) and the configs its id
  std::int64_t shard_bytes = default_shard_bytes;
};

/// A model with more rows of vocabulary, or with fewer where the tokenizer leaves the last ones unused; both
/// embeddings. Throws InputError when there would be more rows than a config.json may say (2^30), the tokenizer needs
/// more than asked for, has a padding token already and another is asked
/// for, the tensors don't fit the config, or `out` is not free.
void resize_model(const ResizeModel& settings);

}  // namespace rrhf::checkpoint
