// One walk over a model's tensors into another folder: what converting, resizing and merging share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/checkpoint/file_plan.h"
#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/folder_writer.h"
#include "rrhf/checkpoint/joint_folder.h"
#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/checkpoint/walk.h"
#include "rrhf/core/choices.h"
#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

/// What becomes of tensors on their way.
struct Rewrite {
  std::string what;                  ///< the word before the bar: "converting"
  std::optional<Dtype> dtype;        ///< kept as it is where none is named
  std::optional<std::int64_t> rows;  ///< of vocabulary: as many as there are where none is named
  RowFill fill = RowFill::zero;      ///< of rows that there are not
  std::int64_t shard_bytes = default_shard_bytes;
  Stops stops = Stops::heeded;

  /// Rows [first, first + block_RI.size(0)) of a tensor as they are to be written, in any dtype and of the same shape;
  /// a norm's block has one dimension. None: as they are.
  std::function<at::Tensor(const TensorInfo&, std::int64_t first, const at::Tensor& block_RI)> change;
};

class Rewriter {
 public:
  /// Warns of a head that is no part of the model and of odd ids. Throws InputError where the tensors don't fit the
  /// config, or a small file can't be read.
  explicit Rewriter(const std::filesystem::path& from);

  const model::LlamaConfig& config() const noexcept { return config_; }
  /// The tensors that are written; null for a name that is none of them.
  const TensorInfo* find(std::string_view name) const;
  /// Valid while this lives. Must not be written to.
  at::Tensor tensor(const TensorInfo& info) const { return source_.tensor(info); }
  const std::filesystem::path& path() const noexcept { return source_.path(); }
  /// Tokenizer, generation config and rrhf.json.
  const CarriedFiles& carried() const noexcept { return carried_; }
  Dtype dtype() const;  ///< the embedding's

  /// Writes the tensors into a folder under construction, a block at a time; of several writers each its share. Logs
  /// how many weights the new dtype makes zero and the first tensor with one; warns where a tensor loses many. Throws
  /// InputError where weights are beyond the new dtype's range (counted, the first tensor named), Interrupted where
  /// stops are heeded and one is asked for. Gives the writer's files.
  std::vector<FileHash> write(const std::filesystem::path& folder, const Rewrite& rewrite,
                              const Writers& writers = {}) const;

 private:
  struct Losses;
  std::vector<TensorSpec> specs(const Rewrite& rewrite) const;
  static void report(const Losses& losses, const std::vector<TensorSpec>& specs);
  void write_tensor(const TensorInfo& info, const TensorSpec& spec, const Rewrite& rewrite, FileSequence& files,
                    WalkProgress& progress, Losses& losses) const;

  model::LlamaConfig config_;
  TensorSource source_;
  std::vector<const TensorInfo*> tensors_;
  CarriedFiles carried_;
};

}  // namespace rrhf::checkpoint
