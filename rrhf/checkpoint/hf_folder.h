// A model as a Hugging Face folder: config.json, weights (checkpoint/tensor_source.h says which files), tokenizer
// files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/checkpoint/folder_writer.h"
#include "rrhf/checkpoint/joint_folder.h"
#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/model/tensor_set.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {

/// The config of a model's folder. Throws InputError when the folder or its config.json is missing (with the way out
/// for a folder in Meta's layout) or not a LLaMA, and when its manifest says that it holds a delta: no command may take
/// one for a model.
model::LlamaConfig load_config(const std::filesystem::path& folder);

/// The same for a folder that may hold a delta.
model::LlamaConfig load_config_of_any(const std::filesystem::path& folder);

/// The weights of a folder, any range of any tensor. Files are mapped and each element is copied once, into its place.
/// Rotary inv_freq buffers of old files are passed over. A missing lm_head.weight is taken as tied when the config
/// ties.
class WeightReader {
 public:
  /// Throws InputError naming all missing, unexpected and wrongly shaped tensors together. Tensors named in `beside`
  /// may be there too. Warns of weights that look like a delta's, and of a head that the config makes no part of the
  /// model.
  WeightReader(const std::filesystem::path& folder, const model::LlamaConfig& config,
               std::span<const std::string_view> beside = {});

  /// Copies elements [begin, begin + values.numel()), in row-major order, of tensor number `tensor` of
  /// Weights::tensors() into the flat `values`, converted to its dtype.
  void read(std::size_t tensor, std::int64_t begin, const at::Tensor& values) const;

 private:
  struct Part {
    const TensorInfo* info;
    std::int64_t begin;  // in the tensor
  };
  void read_part(const Part& part, std::int64_t begin, const at::Tensor& values) const;

  TensorSource source_;
  std::vector<std::vector<Part>> parts_;  // of each tensor
};

/// All weights of a folder in `dtype` on `device`. Throws InputError as WeightReader does.
model::Weights load_weights(const std::filesystem::path& folder, const model::LlamaConfig& config, at::ScalarType dtype,
                            at::Device device, std::span<const std::string_view> beside = {});

inline constexpr const char* encoding_note_file = "rrhf.json";

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
  std::filesystem::path made_from;  ///< folder whose tokenizer and generation config are carried along; may be empty
  std::optional<EncodingNote> encoding_note;  ///< written for the released encoding
};

/// The tensors of a model::TensorSet, or one of a kind for each such as its moments, handed out whole a few at a time,
/// so that they need never be in memory together.
struct TensorUnits {
  std::vector<std::vector<std::size_t>> units;  ///< numbers in the set
  /// The tensors of a unit. Called once for each, in order, by every process.
  std::function<std::vector<at::Tensor>(std::size_t unit)> whole;
};

/// The same as what is written under the tensors' names in a checkpoint. Keeps a reference to `tensors`.
std::vector<TensorBatch> named_batches(const TensorUnits& tensors, const model::TensorSet& set, at::ScalarType dtype);

/// What the tensors of a model take in files.
std::int64_t model_bytes(const model::LlamaConfig& config, Dtype dtype);

/// Writes the rrhf.json of a folder under construction, where there is a note.
void write_encoding_note(const std::filesystem::path& folder, const std::optional<EncodingNote>& note);

/// Writes the model into `folder`, which must be where a StagedFolder or a JointFolder builds: nothing here renames.
/// Throws Error when a file can't be written.
void save_model(const std::filesystem::path& folder, const TensorUnits& weights, const model::LlamaConfig& config,
                const SaveOptions& options, const Writers& writers = {});

/// The same for weights that are in memory.
void save_model(const std::filesystem::path& folder, const model::Weights& weights, const model::LlamaConfig& config,
                const SaveOptions& options);

}  // namespace rrhf::checkpoint
