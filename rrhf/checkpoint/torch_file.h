// Named tensors in a file of torch.save.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "rrhf/core/mapped_file.h"
#include "rrhf/format/torch_archive.h"

namespace rrhf::checkpoint {

/// A state dict (pytorch_model.bin, *.pt) mapped for reading. Its tensors are strided views of the mapping: read-only,
/// valid while this lives, and several may share memory.
class TorchFile {
 public:
  /// Throws InputError for a missing or broken file, or one that holds more than plain tensors.
  explicit TorchFile(const std::filesystem::path& path);

  const std::string& name() const noexcept { return name_; }
  const std::vector<format::TorchEntry>& entries() const noexcept { return archive_.tensors; }

  /// The tensor of an entry, sharing the mapping. Must not be written to. The first use of a storage checks its CRC-32,
  /// which reads it once. Throws InputError for a damaged storage, a dtype other than F32, F16, BF16, F64, and when the
  /// file was cut short since it was opened.
  /// Safe from several threads.
  at::Tensor tensor(const format::TorchEntry& entry) const;

  /// Gives the pages of a tensor back to the system; they are read again when next touched.
  void release(const format::TorchEntry& entry) const noexcept;

 private:
  void verify(const format::TorchEntry& entry) const;

  std::string name_;
  MappedFile file_;
  format::TorchArchive archive_;
  std::unique_ptr<std::atomic<bool>[]> verified_;  // of each storage
};

}  // namespace rrhf::checkpoint
