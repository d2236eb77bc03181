// A folder that several processes write together, each some of its files.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/checkpoint/tensor_file_writer.h"
#include "rrhf/core/staged_folder.h"

namespace rrhf::checkpoint {

/// The processes that write together. They see one file system. Here: one process.
class Writers {
 public:
  virtual ~Writers() = default;
  virtual std::size_t rank() const { return 0; }
  virtual std::size_t size() const { return 1; }
  /// Every process's word in order of rank, once all have come.
  virtual std::vector<std::string> meet(const std::string& word) const { return {word}; }
};

/// A StagedFolder of several processes: process 0 makes it and puts it in place when all are done, each having brought
/// its files to the disk before. What it replaces is replaced. Every process makes the same calls.
class JointFolder {
 public:
  /// `bytes` is what all processes will write. Throws Error when nothing can be written there, or the disk has no room
  /// for it.
  JointFolder(const std::filesystem::path& destination, std::int64_t bytes, const Writers& writers);

  /// Where to write until publish().
  const std::filesystem::path& path() const noexcept { return path_; }

  /// Returns once the folder is in place under its name.
  void publish();

 private:
  const Writers* writers_;
  std::unique_ptr<StagedFolder> staged_;  // of process 0
  std::filesystem::path path_;
};

/// Tensors that are whole on every process at the same time, for a moment.
struct TensorBatch {
  std::vector<TensorSpec> specs;
  std::function<std::vector<at::Tensor>()> whole;  ///< called once by every process, in the order of the batches
};

/// Writes STEM.safetensors, or several files of at most `file_bytes` with an index: every process those of its share of
/// the batches, which are about equal in bytes. Throws Error when a file can't be written.
void write_batches(const std::filesystem::path& folder, std::string_view stem, const std::vector<TensorBatch>& batches,
                   std::int64_t file_bytes, const Writers& writers);

}  // namespace rrhf::checkpoint
