// Named tensors in a safetensors file.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "rrhf/core/mapped_file.h"
#include "rrhf/format/safetensors.h"
#include "rrhf/model/weights.h"

namespace rrhf::checkpoint {

/// A safetensors file mapped for reading. Its tensors are views of the mapping: read-only, valid while this lives.
class TensorFile {
 public:
  /// Throws InputError for a missing or broken file.
  explicit TensorFile(const std::filesystem::path& path);

  const std::string& name() const noexcept { return name_; }
  const std::vector<format::SafetensorsEntry>& entries() const noexcept { return content_.tensors; }
  const std::map<std::string, std::string>& metadata() const noexcept { return content_.metadata; }

  /// The tensor of an entry, sharing the mapping. Must not be written to. Throws InputError for a dtype torch lacks
  /// here, and when the file was cut short since it was opened.
  at::Tensor tensor(const format::SafetensorsEntry& entry) const;

  /// Gives the pages of a tensor back to the system; they are read again when next touched.
  void release(const format::SafetensorsEntry& entry) const noexcept { file_.release(entry.data); }

  /// The entry of that name, or null.
  const format::SafetensorsEntry* find(std::string_view name) const;

 private:
  std::string name_;
  MappedFile file_;
  format::SafetensorsFile content_;
};

/// Writes the tensors, converted to `dtype` one at a time. Not atomic: for files inside a StagedFolder.
/// Throws Error when the disk is full or the path not writable.
void write_tensor_file(const std::filesystem::path& path, const std::vector<model::NamedTensor>& tensors,
                       at::ScalarType dtype);

}  // namespace rrhf::checkpoint
