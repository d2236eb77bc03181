// Writes a checkpoint tensor by tensor: safetensors shards of a chosen size with their index, a piece of a tensor in
// memory at a time. For folders under construction (StagedFolder): nothing here renames.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "rrhf/checkpoint/tensor_file_writer.h"
#include "rrhf/core/sha256.h"

namespace rrhf::checkpoint {

/// The shard size of Hugging Face's own folders: 5 GB.
inline constexpr std::int64_t default_shard_bytes = 5'000'000'000;

class FolderWriter {
 public:
  struct Options {
    std::int64_t shard_bytes = default_shard_bytes;  ///< of tensors; the header comes on top
    bool sha256 = false;                             ///< hash the files as they are written
  };

  /// One model.safetensors if everything fits in a shard, otherwise model-NNNNN-of-NNNNN.safetensors and the index.
  /// Tensors fill shards in the order of the specs; one larger than a shard is a shard of its own.
  /// Throws Error when two specs have the same name, the disk has no room for all of them (core/disk_room.h), or a file
  /// can't be created.
  FolderWriter(std::filesystem::path folder, std::vector<TensorSpec> tensors, Options options);
  ~FolderWriter();

  /// The next tensor in the order of the specs: as TensorFileWriter::write().
  void write(const at::Tensor& tensor);

  /// The next elements of the tensor under way: as TensorFileWriter::write_part().
  void write_part(const at::Tensor& part);

  /// Closes the last shard and writes the index. The shards in their order.
  /// Throws Error when tensors are missing or the disk is full.
  std::vector<FileHash> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rrhf::checkpoint
