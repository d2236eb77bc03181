// Files: read whole, mapped, and written so that a half-written one is never seen under its own name.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace rrhf {

/// Whether something stands at `path`; whether it is a folder. Throws InputError where that can't be told: a folder on
/// the way that may not be entered, a name too long.
bool path_exists(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

/// The whole file as bytes. Throws InputError when it is missing, is a folder, or can't be read.
std::string read_file(const std::filesystem::path& path);

/// A file mapped for reading. Pages are loaded when touched and never written back: the mapping is private.
/// Owns the mapping; movable. bytes() is valid while the object lives.
class MappedFile {
 public:
  /// Throws InputError when the file is missing or can't be mapped. An empty file gives an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  /// Gives the pages that hold `part` of bytes() back to the system. They are read again when next touched, so this
  /// is never wrong, only slow. Safe from several threads.
  void release(std::span<const std::byte> part) const noexcept;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Writes `path` aside (`.NAME.tmp-PID` in the same folder), syncs it and renames it: readers see the old file or the
/// new one, whole. Throws Error when the folder is not writable or the disk is full; the old file is then untouched.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// The same for content that is written piece by piece into a stream.
void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

/// Asked before long work: could write_file_atomically() write here? Throws InputError when the folder is missing or
/// not writable, or when `path` is a folder itself. Leaves nothing behind.
void require_writable_file(const std::filesystem::path& path);

/// Builds a folder aside (`.NAME.tmp-PID` beside it) and moves it into place in one rename.
/// The destination must be missing or empty, unless `replace` is said: then the old folder and the new one change
/// places at once and the old one is removed. (File systems that can't exchange two folders get two renames; killed
/// between them, the old folder is still there, hidden, and the next StagedFolder for this destination puts it back.)
/// Without publish() the destructor removes what was built. What processes that were killed had been building for the
/// same destination is removed by the constructor.
class StagedFolder {
 public:
  enum class IfPresent { fail, replace };

  /// Throws InputError when the destination holds files and `fail` is asked for, when it is a mount point or a link to
  /// nowhere, which no folder can be renamed onto, and when nothing can be written there.
  explicit StagedFolder(std::filesystem::path destination, IfPresent if_present = IfPresent::fail);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  /// Where to write until publish().
  const std::filesystem::path& path() const noexcept { return staging_; }

  /// Syncs the files and renames the folder into place. Throws Error when that can't be done: with `fail` also where
  /// something has come to lie there in the meantime, which is left as it is.
  void publish();

 private:
  void put_in_place();
  void replace_in_two_renames();

  std::filesystem::path destination_;
  std::filesystem::path staging_;
  IfPresent if_present_;
  bool published_ = false;
};

/// Removes what processes that no longer run were building aside in `folder`: files and folders `.NAME.tmp-PID`, of any
/// NAME or only of the one given. `.NAME.old-PID` becomes NAME again where NAME is missing. Returns how many there
/// were.
int remove_abandoned(const std::filesystem::path& folder, std::string_view name = "");

/// True when the folder is missing or holds nothing.
bool missing_or_empty(const std::filesystem::path& folder);

/// Held by the one process that writes into a folder, until it ends or the object goes. Leaves no file behind.
class FolderLock {
 public:
  /// Throws InputError when another process holds it. File systems without locks give none.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&& other) noexcept;
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// Creates the folder with its parents. Throws InputError when it can't be made or written into.
void make_writable_folder(const std::filesystem::path& folder);

}  // namespace rrhf
