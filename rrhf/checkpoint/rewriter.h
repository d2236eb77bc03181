// One walk over a model's tensors into another folder: what converting, resizing and merging share.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/checkpoint/folder_writer.h"
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

  /// Rows [first, first + block_RI.size(0)) of a tensor as they are to be written, in any dtype; none: as they are.
  std::function<at::Tensor(const TensorInfo&, std::int64_t first, const at::Tensor& block_RI)> change;
};

class Rewriter {
 public:
  /// Warns of a head that is no part of the model and of odd ids. Throws InputError where the tensors don't fit the
  /// config, or a small file can't be read.
  explicit Rewriter(const std::filesystem::path& from);

  const model::LlamaConfig& config() const noexcept { return config_; }
  const TensorSource& source() const noexcept { return source_; }
  /// Tokenizer, generation config and rrhf.json.
  const CarriedFiles& carried() const noexcept { return carried_; }
  Dtype dtype() const;  ///< the embedding's

  /// Writes the tensors into a folder under construction, a block at a time. Logs how many weights the new dtype makes
  /// zero and the first tensor with one; warns where a tensor loses many. Throws InputError where weights are beyond
  /// the new dtype's range (counted, the first tensor named), Interrupted where stops are heeded and one is asked for.
  std::vector<FileHash> write(const std::filesystem::path& folder, const Rewrite& rewrite) const;

 private:
  struct Losses;
  void write_tensor(const TensorInfo& info, const TensorSpec& spec, const Rewrite& rewrite, FolderWriter& writer,
                    WalkProgress& progress, Losses& losses) const;

  model::LlamaConfig config_;
  TensorSource source_;
  std::vector<const TensorInfo*> tensors_;
  CarriedFiles carried_;
};

}  // namespace rrhf::checkpoint
