#include "rrhf/core/staged_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <string>
#include <system_error>
#include <vector>

#include "rrhf/core/aside.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf {
namespace fs = std::filesystem;
namespace {

// Two folders change places at once. False where the file system can't do that.
bool exchange(const fs::path& a, const fs::path& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

// A folder path without a final slash, so that parent_path() and filename() mean what they say.
fs::path without_trailing_slash(fs::path path) { return path.filename().empty() ? path.parent_path() : path; }

// Where a folder will really lie: links are followed, so that what is renamed is the folder and not the link.
fs::path real_destination(const fs::path& destination) {
  std::error_code failure;
  fs::path path = without_trailing_slash(fs::absolute(destination).lexically_normal());
  if (fs::is_symlink(path, failure)) {
    path = fs::canonical(path, failure);
    if (failure)
      throw_input("file", "{}: is a link to nowhere; remove it or name another folder", destination.string());
  }
  struct stat own {
  }, parent{};
  if (::stat(path.c_str(), &own) == 0 && ::stat(path.parent_path().c_str(), &parent) == 0 &&
      own.st_dev != parent.st_dev) {
    throw_input("file", "{}: is a mount point, which no finished folder can be renamed onto; name a folder inside it",
                destination.string());
  }
  return path;
}

// rename() would take the shell's folder away from under it: what was made could not be seen from there.
void refuse_working_folder(const fs::path& destination) {
  struct stat own {
  }, working{};
  if (::stat(destination.c_str(), &own) != 0 || ::stat(".", &working) != 0) return;
  if (own.st_dev != working.st_dev || own.st_ino != working.st_ino) return;
  throw_input("file", "{}: is the folder this was started in, which is not written over; name a folder inside it",
              destination.string());
}

}  // namespace

StagedFolder::StagedFolder(fs::path destination, IfPresent if_present)
    : destination_(real_destination(destination)), if_present_(if_present) {
  remove_abandoned(destination_.parent_path(), destination_.filename().string());
  if (if_present == IfPresent::fail && !missing_or_empty(destination_)) {
    throw_input("file", "{}: exists and is not empty; choose another folder or remove it", destination_.string());
  }
  if (if_present == IfPresent::fail) refuse_working_folder(destination_);
  std::error_code failure;
  fs::create_directories(destination_.parent_path(), failure);
  if (failure) throw_input("file", "{}: could not be created: {}", destination_.string(), failure.message());
  staging_.emplace(destination_, Aside::Kind::folder);
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  if (!published_) fs::remove_all(path(), ignored);
}

void StagedFolder::publish() {
  staging_->require_own();
  for (const auto& entry : fs::recursive_directory_iterator(path())) {
    if (entry.is_regular_file()) sync_to_disk(entry.path(), O_RDONLY);
  }
  sync_to_disk(path(), O_RDONLY | O_DIRECTORY);  // the names of the files
  staging_->require_own();
  if (if_present_ == IfPresent::fail || missing_or_empty(destination_)) {
    put_in_place();  // which a folder with something in it withstands
  } else if (exchange(path(), destination_)) {
    published_ = true;
    std::error_code ignored;
    sync_to_disk(destination_.parent_path(), O_RDONLY | O_DIRECTORY);
    fs::remove_all(path(), ignored);
  } else {
    replace_in_two_renames();
  }
}

void StagedFolder::put_in_place() {
  std::error_code failure;
  fs::rename(path(), destination_, failure);
  if (failure) throw_error("file", "{}: could not be put in place: {}", destination_.string(), failure.message());
  published_ = true;
  sync_to_disk(destination_.parent_path(), O_RDONLY | O_DIRECTORY);
}

// rename() does not replace a folder that is not empty, so the old one steps aside first.
void StagedFolder::replace_in_two_renames() {
  const Descriptor held(destination_, O_RDONLY | O_DIRECTORY);
  try_lock(held);  // against being put back by another process meanwhile
  const fs::path old = aside(destination_, "old");
  std::error_code failure;
  fs::rename(destination_, old, failure);
  if (failure) throw_error("file", "{}: could not be moved aside: {}", destination_.string(), failure.message());
  try {
    put_in_place();
  } catch (const Error&) {
    if (!published_) fs::rename(old, destination_, failure);
    throw;
  }
  fs::remove_all(old, failure);
}

int remove_abandoned(const fs::path& folder, std::string_view name) {
  int found = 0;
  std::error_code failure;
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder, failure)) entries.push_back(entry.path());
  for (const fs::path& path : entries) {
    const auto aside = aside_name(path.filename().string());
    if (!aside || (!name.empty() && aside->name != name)) continue;
    // A FIFO would be waited for without O_NONBLOCK; locks of some file systems need a file that may be written.
    const bool is_file = fs::is_regular_file(fs::symlink_status(path, failure));
    const Descriptor held(path, (is_file ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK);
    if (!try_lock(held)) continue;
    ++found;
    const fs::path original = folder / aside->name;
    if (aside->tag == "old" && !fs::exists(original, failure)) {
      fs::rename(path, original, failure);
    } else {
      fs::remove_all(path, failure);
    }
  }
  return found;
}

}  // namespace rrhf
