// Writes a safetensors file from front to back, a piece at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rrhf/core/sha256.h"

namespace rrhf::checkpoint {

/// A tensor that will be written.
struct TensorSpec {
  std::string name;
  at::ScalarType dtype = at::kFloat;  ///< float32, float16, bfloat16 or float64
  std::vector<std::int64_t> shape;

  std::int64_t numel() const;
  std::int64_t bytes() const;
};

/// Not atomic: for files inside a StagedFolder. All tensors are known before the first byte, since a file begins with
/// its header. One thread at a time.
class TensorFileWriter {
 public:
  /// Creates the file, claims its room on the disk and writes the header. With `sha256` the file is hashed as it is
  /// written, on a second thread. Throws Error when it can't be created or the disk has no room for it.
  TensorFileWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors, bool sha256 = false,
                   const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
  ~TensorFileWriter();
  TensorFileWriter(TensorFileWriter&&) noexcept;
  TensorFileWriter& operator=(TensorFileWriter&&) noexcept;

  /// The next tensor in the order of the specs, in any layout, on any device, converted to the spec's dtype. One that
  /// is contiguous, on the CPU and of that dtype is written from where it lies; another passes through a small buffer.
  /// Throws Error when the shape differs from the spec's or the disk is full.
  void write(const at::Tensor& tensor);

  /// The next elements, in row-major order, of the tensor under way: for one that is never whole in memory.
  /// The parts of a tensor must add up to its size before the next begins. With `sha256`, what is given must not be
  /// changed before the next call or finish(): it is still being hashed.
  void write_part(const at::Tensor& part);

  /// True once every element of every tensor was written.
  bool complete() const noexcept;

  /// Brings the file to the disk and closes it. Throws Error when tensors are missing or the disk is full or broken.
  FileHash finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rrhf::checkpoint
