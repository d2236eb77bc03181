// Writes a checkpoint tensor by tensor: safetensors shards of a chosen size with their index, one tensor in memory at a
// time. For folders under construction (StagedFolder): nothing here renames.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace rrhf::checkpoint {

/// A tensor that will be written: all are known before the first byte, since a shard begins with its header.
struct TensorSpec {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
};

/// A file that was written, with what identifies it.
struct WrittenFile {
  std::string name;  ///< within the folder
  std::int64_t bytes = 0;
  std::string sha256;  ///< lower-case hex; empty unless hashing was asked for
};

class FolderWriter {
 public:
  struct Options {
    std::int64_t shard_bytes = std::int64_t{5} << 30;
    bool sha256 = false;  ///< hash the files as they are written
  };

  /// One model.safetensors if everything fits in a shard, otherwise model-NNNNN-of-NNNNN.safetensors and the index.
  /// A tensor larger than a shard is a shard of its own. Throws Error when a file can't be created.
  FolderWriter(std::filesystem::path folder, std::vector<TensorSpec> tensors, Options options);
  ~FolderWriter();

  /// The next tensor in the order of the specs, in any layout, on any device; converted to the spec's dtype.
  /// Throws Error when the shape differs from the spec's or the disk is full.
  void write(const at::Tensor& tensor);

  /// Closes the last shard, writes the index. Throws Error when tensors are missing or the disk is full.
  std::vector<WrittenFile> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rrhf::checkpoint
