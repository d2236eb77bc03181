// What files and folders have in common that are built under another name and renamed.
//
// Whether such a thing is still being worked on is told by a lock (flock) that its maker holds, which goes with the
// process however it ends. Its process id tells nothing: in another container, or on another machine of the same file
// system, other processes have the same ones.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "rrhf/core/descriptor.h"

namespace rrhf {

/// `.NAME.TAG-PID-RANDOM` beside `path`: a name that nothing else has. The process id is there for people.
std::filesystem::path aside(const std::filesystem::path& path, std::string_view tag);

/// A name that aside() made, taken apart.
struct AsideName {
  std::string name;
  std::string tag;
};
/// Nothing for any other name. PID alone is understood as well.
std::optional<AsideName> aside_name(const std::string& file_name);

/// The path as it will be once what is built aside is in place: what messages name.
std::filesystem::path without_aside(const std::filesystem::path& path);

/// Whether the lock on an open file or folder was free, and is held now until the last descriptor of it is closed.
/// Waits for nothing. False too on file systems that have no locks, or none for folders (NFS).
bool try_lock(const Descriptor& file);

/// Returns once what was written is on the disk. `flags` open the file or folder. Throws Error when that fails.
void sync_to_disk(const std::filesystem::path& path, int flags);

/// A new empty file or folder beside `path`, `.NAME.tmp-PID-RANDOM`, locked while this lives so that the
/// remove_abandoned() of others leaves it alone. Is not removed with the object.
class Aside {
 public:
  enum class Kind { file, folder };

  /// Throws when it can't be made: Error for a file, InputError for a folder.
  Aside(const std::filesystem::path& path, Kind kind);

  const std::filesystem::path& path() const noexcept { return path_; }

  /// Asked before it is renamed: does its name still lead to it? Throws Error when another process took it away.
  void require_own() const;

 private:
  bool is_own() const;

  std::filesystem::path path_;
  std::optional<Descriptor> held_;
};

}  // namespace rrhf
