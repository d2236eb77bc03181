// Which tensors lie in which safetensors file of a folder, settled before the first byte is written.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/checkpoint/tensor_file_writer.h"
#include "rrhf/core/sha256.h"

namespace rrhf::checkpoint {

struct PlannedFile {
  std::string name;
  std::vector<TensorSpec> tensors;
  std::size_t writer = 0;  ///< index into what plan_files() was given
};

/// STEM.safetensors if all fits in one file, otherwise STEM-NNNNN-of-NNNNN.safetensors. Tensors fill files in their
/// order; a new file begins where the next tensor would pass `file_bytes` and with every writer that has any.
/// Throws Error when two tensors have the same name.
std::vector<PlannedFile> plan_files(std::string_view stem, std::vector<std::vector<TensorSpec>> by_writer,
                                    std::int64_t file_bytes);

/// The writer of each of some items of so many bytes, in order: runs of items, about equal in bytes.
std::vector<std::size_t> share_out(const std::vector<std::int64_t>& bytes, std::size_t writers);

/// The files of one writer.
std::vector<PlannedFile> files_of(const std::vector<PlannedFile>& files, std::size_t writer);

/// Writes STEM.safetensors.index.json; nothing for a single file. Throws Error when it can't be written.
void write_index(const std::filesystem::path& folder, std::string_view stem, const std::vector<PlannedFile>& files);

/// Writes files one after the other, tensor by tensor.
class FileSequence {
 public:
  /// Throws Error when the first file can't be created or the disk has no room for it.
  FileSequence(std::filesystem::path folder, std::vector<PlannedFile> files, bool sha256);
  ~FileSequence();
  FileSequence(FileSequence&&) noexcept;

  /// As TensorFileWriter::write() and write_part(), the next file being opened when one is complete.
  void write(const at::Tensor& tensor);
  void write_part(const at::Tensor& part);

  /// Closes the last file. Throws Error when tensors are missing or the disk is full.
  std::vector<FileHash> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rrhf::checkpoint
