#include "rrhf/core/file.h"

#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "rrhf/core/aside.h"
#include "rrhf/core/error.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/core/unicode.h"

namespace rrhf {
namespace fs = std::filesystem;
namespace {

// What a link at `path` leads to, and `path` itself where there is none.
fs::path behind_link(const fs::path& path) {
  std::error_code failure;
  if (!fs::is_symlink(path, failure)) return path;
  fs::path target = fs::canonical(path, failure);
  return failure ? path : target;
}

}  // namespace

bool path_exists(const fs::path& path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (status.type() == fs::file_type::none) {
    constexpr std::size_t most_shown = 200;  // characters: a name too long may be very long
    throw_input("file", "{}: {}", shorten(path.string(), most_shown), failure.message());
  }
  return fs::exists(status);
}

bool is_folder(const fs::path& path) {
  std::error_code failure;
  return path_exists(path) && fs::is_directory(path, failure);
}

std::string_view kind_of_file(const fs::path& path) {
  std::error_code failure;
  if (!path_exists(path)) return fs::is_symlink(fs::symlink_status(path, failure)) ? "a link to nowhere" : "nothing";
  switch (fs::status(path, failure).type()) {
    case fs::file_type::regular:
      return "a regular file";
    case fs::file_type::directory:
      return "a folder";
    case fs::file_type::fifo:
      return "a FIFO";
    case fs::file_type::socket:
      return "a socket";
    default:
      return "a device";
  }
}

void require_regular_file(const fs::path& path) {
  std::error_code failure;
  if (fs::is_regular_file(path, failure)) return;
  throw_input("file", "{}: is {}; a regular file is needed", path.string(), kind_of_file(path));
}

bool has_file(const fs::path& path) {
  if (kind_of_file(path) == "nothing") return false;
  require_regular_file(path);
  return true;
}

std::string read_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) throw_input("file", "{}: is a folder; a file is needed", path.string());
  std::ifstream in(path, std::ios::binary);
  if (!in) throw_input("file", "{}: {}", path.string(), std::strerror(errno));
  std::string content((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (in.bad()) throw_input("file", "{}: could not be read: {}", path.string(), std::strerror(errno));
  return content;
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  write_file_atomically(path, [&](std::ostream& out) { out.write(content.data(), std::ssize(content)); });
}

void write_file_atomically(const fs::path& link_or_path, const std::function<void(std::ostream&)>& write) {
  const fs::path path = behind_link(link_or_path);
  const std::string shown = without_aside(path).string();
  remove_abandoned(path.has_parent_path() ? path.parent_path() : ".", path.filename().string());
  const Aside temporary(path, Aside::Kind::file);
  std::error_code ignored;
  try {
    std::ofstream out(temporary.path(), std::ios::binary | std::ios::trunc);
    if (!out) throw_error("file", "{}: could not be created: {}", shown, std::strerror(errno));
    errno = 0;
    write(out);
    out.flush();
    if (!out) throw_error("file", "{}: could not be written: {}", shown, std::strerror(errno));
    out.close();
    sync_to_disk(temporary.path(), O_WRONLY);
    temporary.require_own();
    fs::rename(temporary.path(), path);
  } catch (const fs::filesystem_error& failure) {
    fs::remove(temporary.path(), ignored);
    throw_error("file", "{}: could not be put in place: {}", shown, failure.code().message());
  } catch (...) {
    fs::remove(temporary.path(), ignored);
    throw;
  }
}

void require_writable_file(const fs::path& path) {
  if (const std::string_view kind = kind_of_file(path); kind != "nothing" && kind != "a regular file") {
    throw_input("file", "{}: is {}; the name of a file to write is needed", path.string(), kind);
  }
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!is_folder(folder)) throw_input("file", "{}: there is no such folder: {}", path.string(), folder.string());
  // Permission bits do not tell (root, read-only file systems): only a write does.
  const fs::path probe = aside(path, "tmp");
  std::error_code ignored;
  if (!std::ofstream(probe)) {
    throw_input("file", "{}: can't be written: {}", path.string(), std::strerror(errno));
  }
  fs::remove(probe, ignored);
}

void require_writable_file(const fs::path& path, std::span<const fs::path> others) {
  require_writable_file(path);
  for (const fs::path& other : others) {
    std::error_code failure;
    if (fs::weakly_canonical(path, failure) != fs::weakly_canonical(other, failure)) continue;
    throw_input("file", "{}: would be written over {}, which this command reads or writes; choose another name",
                path.string(), other.string());
  }
}

bool missing_or_empty(const fs::path& folder) {
  std::error_code failure;
  return !path_exists(folder) || (fs::is_directory(folder, failure) && fs::is_empty(folder, failure));
}

FolderLock::FolderLock(const fs::path& folder) : folder_(folder, O_RDONLY | O_DIRECTORY) {
  if (folder_.get() < 0 || ::flock(folder_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  throw_input("output", "{}: another process is writing into it; wait until it has ended", folder.string());
}

void make_writable_folder(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) throw_input("file", "{}: could not be created: {}", folder.string(), failure.message());
  // Permission bits do not tell (root, read-only file systems): only a write does.
  const fs::path probe = aside(folder / "write-test", "tmp");
  std::ofstream out(probe);
  if (!out) throw_input("file", "{}: is not writable: {}", folder.string(), std::strerror(errno));
  out.close();
  fs::remove(probe, failure);
}

}  // namespace rrhf
