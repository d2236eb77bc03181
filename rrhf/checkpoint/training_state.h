// Checkpoints of a run: folders output/checkpoints/step-NNNNNN.
//
// Each is a Hugging Face folder of the full-precision weights (so that it can be evaluated or trained from as it is),
// or, where adapters are trained, PEFT's folder of these (checkpoint/adapter.h),
// plus training_state.safetensors, the optimizer's moments under "first.<i>" and "second.<i>", and training_state.json.
// Several processes write several files of whole tensors (training_state-NNNNN-of-NNNNN.safetensors), which any number
// of processes can read.
// A folder appears under its name only when it is complete.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/checkpoint/tensor_file.h"

namespace rrhf::checkpoint {

/// What a run needs besides weights to go on as if it had not stopped.
struct TrainingFacts {
  std::int64_t step = 0;  ///< steps done
  std::string data_fingerprint;
};

/// The tensors that a run trains.
struct TrainingTensors {
  model::TensorSet set;  ///< the others' numbers are in it
  TensorUnits masters;
  TensorUnits first_moments;
  TensorUnits second_moments;
  at::ScalarType moment_type = at::kFloat;
};

/// Writes output/checkpoints/step-NNNNNN and removes the oldest beyond `keep`. Called by all processes.
/// Throws Error when the disk has no room for all of it, before anything is written, or a file can't be written.
void save_checkpoint(const std::filesystem::path& output, const TrainingTensors& tensors, const SaveOptions& options,
                     const TrainingFacts& facts, std::int64_t keep, const Writers& writers = {});

/// The newest complete checkpoint of an output folder, if there is one.
std::optional<std::filesystem::path> latest_checkpoint(const std::filesystem::path& output);

/// The newest of the output folder's checkpoints that is older than `checkpoint`, if there is one.
std::optional<std::filesystem::path> checkpoint_before(const std::filesystem::path& checkpoint);

/// What a checkpoint holds besides weights: any range of any moment, whatever processes wrote it.
class TrainingStateReader {
 public:
  /// Throws InputError for a checkpoint that is not whole or is another model's.
  TrainingStateReader(const std::filesystem::path& checkpoint, const model::TensorSet& set);

  const TrainingFacts& facts() const noexcept { return facts_; }

  /// Copy elements [begin, begin + values.numel()), in row-major order, of the moment of tensor number `tensor`.
  void read_first(std::size_t tensor, std::int64_t begin, const at::Tensor& values) const;
  void read_second(std::size_t tensor, std::int64_t begin, const at::Tensor& values) const;

 private:
  struct Entry {
    const TensorFile* file;
    const format::SafetensorsEntry* entry;
  };
  Entry find(const std::string& name, const std::vector<std::int64_t>& shape) const;
  static void read(const Entry& from, std::int64_t begin, const at::Tensor& values);

  std::filesystem::path path_;
  TrainingFacts facts_;
  std::vector<std::unique_ptr<TensorFile>> files_;
  std::vector<Entry> first_, second_;
};

}  // namespace rrhf::checkpoint
