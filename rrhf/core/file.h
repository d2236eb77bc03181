// Files and folders: what stands at a path, files read whole, and written so that a half-written one is never seen
// under its own name. Mapped files: core/mapped_file.h. Folders built whole or not at all: core/staged_folder.h.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "rrhf/core/descriptor.h"

namespace rrhf {

/// Whether something stands at `path`; whether it is a folder. Throws InputError where that can't be told: a folder on
/// the way that may not be entered, a name too long.
bool path_exists(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);

/// What stands at `path`, links followed: "a regular file", "a folder", "a FIFO", "a socket", "a device", "a link to
/// nowhere", "nothing". Throws InputError as path_exists() does.
std::string_view kind_of_file(const std::filesystem::path& path);

/// Asked before a file is opened whose reader could wait for ever (a FIFO's) or would act on a device.
/// Throws InputError, saying what it is, when `path` is anything but a regular file, or there is nothing.
void require_regular_file(const std::filesystem::path& path);

/// Whether there is a file that may be missing. Throws InputError as require_regular_file() does for anything but a
/// regular file, a link to nowhere included: a file that was to be there is not.
bool has_file(const std::filesystem::path& path);

/// The whole file as bytes. Throws InputError when it is missing, is a folder, or can't be read.
std::string read_file(const std::filesystem::path& path);

/// Writes `path` aside (`.NAME.tmp-PID-RANDOM` in the same folder, core/aside.h), syncs it and renames it: readers see
/// the old file or the new one, whole. A link stays: what it leads to is written. What processes that were killed had
/// been writing for the same path is removed. Throws Error when the folder is not writable or the disk is full; the old
/// file is then untouched.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// The same for content that is written piece by piece into a stream.
void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

/// Asked before long work: could write_file_atomically() write here? Throws InputError when the folder is missing or
/// not writable, or when anything but a regular file is there, which it would replace. Leaves nothing behind.
void require_writable_file(const std::filesystem::path& path);

/// The same for one of several outputs. Throws InputError also when `path` is one of `others`: what is read, or another
/// output.
void require_writable_file(const std::filesystem::path& path, std::span<const std::filesystem::path> others);

/// True when the folder is missing or holds nothing.
bool missing_or_empty(const std::filesystem::path& folder);

/// Held by the one process that writes into a folder, until it ends or the object goes. Leaves no file behind.
class FolderLock {
 public:
  /// Throws InputError when another process holds it. File systems without locks give none.
  explicit FolderLock(const std::filesystem::path& folder);

 private:
  Descriptor folder_;
};

/// Creates the folder with its parents. Throws InputError when it can't be made or written into.
void make_writable_folder(const std::filesystem::path& folder);

}  // namespace rrhf
