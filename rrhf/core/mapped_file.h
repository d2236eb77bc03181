// A file mapped into memory for reading.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "rrhf/core/descriptor.h"

namespace rrhf {

/// Pages are loaded when touched and never written back: the mapping is private. Owns the mapping; movable. bytes() is
/// valid while the object lives.
///
/// A file that is cut short while it is mapped has no pages beyond its new end, and touching one ends the process with
/// SIGBUS. require_whole() tells first; a file that is cut between this call and the touch still does. One that is
/// replaced by renaming does no harm: the mapping keeps the old one.
class MappedFile {
 public:
  /// Throws InputError when the file is missing, is no regular file (which is said without waiting for the other end of
  /// a FIFO), or can't be mapped. An empty file gives an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Called before a part of bytes() is read. Throws InputError when the file has become shorter than it was when it
  /// was mapped. Safe from several threads.
  void require_whole() const;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  /// Gives the pages that hold `part` of bytes() back to the system. They are read again when next touched, so this
  /// is never wrong, only slow. Safe from several threads.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  std::filesystem::path path_;
  Descriptor file_;  // kept open to be asked for its size
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace rrhf
