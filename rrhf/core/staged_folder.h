// Folders that are seen whole or not at all.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "rrhf/core/aside.h"

namespace rrhf {

/// Builds a folder aside (`.NAME.tmp-PID-RANDOM` beside it, core/aside.h) and moves it into place in one rename.
/// The destination must be missing or empty, unless `replace` is said: then the old folder and the new one change
/// places at once and the old one is removed. (File systems that can't exchange two folders get two renames; killed
/// between them, the old folder is still there, hidden, and the next StagedFolder for this destination puts it back.)
/// Without publish() the destructor removes what was built. What processes that were killed had been building for the
/// same destination is removed by the constructor.
class StagedFolder {
 public:
  enum class IfPresent { fail, replace };

  /// Throws InputError when `fail` is asked for and the destination holds files or is the working folder, when it is a
  /// mount point or a link to nowhere, which no folder can be renamed onto, and when nothing can be written there.
  explicit StagedFolder(std::filesystem::path destination, IfPresent if_present = IfPresent::fail);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  /// Where to write until publish().
  const std::filesystem::path& path() const noexcept { return staging_->path(); }

  /// Syncs the files and renames the folder into place. Throws Error when that can't be done: with `fail` also where
  /// something has come to lie there in the meantime, which is left as it is, and always where another process has
  /// taken away what was built.
  void publish();

 private:
  void put_in_place();
  void replace_in_two_renames();

  std::filesystem::path destination_;
  std::optional<Aside> staging_;
  IfPresent if_present_;
  bool published_ = false;
};

/// Removes what processes that no longer run were building aside in `folder`: files and folders `.NAME.tmp-PID-RANDOM`
/// that nobody holds locked, of any NAME or only of the one given. `.NAME.old-PID-RANDOM` becomes NAME again where NAME
/// is missing. Where a file system has no locks everything stays. Returns how many there were.
int remove_abandoned(const std::filesystem::path& folder, std::string_view name = "");

}  // namespace rrhf
