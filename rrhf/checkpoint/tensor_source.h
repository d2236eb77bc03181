// The tensors of a model folder by name, whatever files hold them, read one at a time.
//
// Understood, in this order: model.safetensors, model.safetensors.index.json, pytorch_model.bin,
// pytorch_model.bin.index.json; else every *.safetensors or every *.bin of the folder ("raw names"), which must not
// repeat a tensor. Also a single file. (format/weight_files.h)
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::checkpoint {

/// What is known of a tensor before its bytes are touched.
struct TensorInfo {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<std::int64_t> shape;
  std::size_t file = 0;  ///< index into TensorSource::files()

  std::int64_t numel() const;
  std::int64_t bytes() const;
};

/// Owns the mappings of its files. Rotary inv_freq buffers of old checkpoints are passed over.
/// Const calls are safe from several threads.
class TensorSource {
 public:
  /// Opens the folder (or file) and reads the headers of its files. Throws InputError when nothing there holds tensors,
  /// a file is missing or broken, an index names a file outside the folder, a tensor stands in two files, an index and
  /// its files disagree, or a dtype is not a floating one (all such names together).
  explicit TensorSource(const std::filesystem::path& path);
  ~TensorSource();
  TensorSource(TensorSource&&) noexcept;
  TensorSource& operator=(TensorSource&&) noexcept;

  const std::filesystem::path& path() const noexcept;
  /// The files that hold tensors, sorted by name. TensorInfo::file points here.
  const std::vector<std::filesystem::path>& files() const noexcept;
  /// In the order of the files, within a file in the order of its bytes or dict.
  const std::vector<TensorInfo>& tensors() const noexcept;
  /// Null where there is no tensor of that name.
  const TensorInfo* find(std::string_view name) const;

  /// The tensor itself: a view of the mapped file, possibly not contiguous. Must not be written to; valid while the
  /// source lives. Throws InputError for damaged bytes where the file has checksums (.bin, checked when first read) and
  /// when its file was cut short since it was opened, Error for a tensor of another source. A file that is cut while
  /// the view is in use still ends the process (core/mapped_file.h).
  at::Tensor tensor(const TensorInfo& info) const;

  /// Tells the system that the pages of this tensor are not needed any more, so that a walk over a checkpoint larger
  /// than memory keeps a small resident set. The tensor can still be read.
  void release(const TensorInfo& info) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rrhf::checkpoint
