#include "rrhf/core/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "rrhf/core/error.h"

namespace rrhf {
namespace fs = std::filesystem;
namespace {

// A path beside `path` that no other process of ours uses.
fs::path aside(const fs::path& path, std::string_view tag) {
  return path.parent_path() / fmt::format(".{}.{}-{}", path.filename().string(), tag, ::getpid());
}

class Descriptor {
 public:
  Descriptor(const fs::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

void sync_to_disk(const fs::path& path, int flags) {
  const Descriptor file(path, flags);
  if (file.get() < 0 || ::fsync(file.get()) != 0) {
    throw_error("file", "{}: could not be written to disk: {}", path.string(), std::strerror(errno));
  }
}

// A name that aside() made, taken apart.
struct Aside {
  std::string name;
  std::string_view tag;
  pid_t process = 0;
};

std::optional<Aside> aside_name(const std::string& file) {
  for (const std::string_view tag : {"tmp", "old"}) {
    const std::string mark = fmt::format(".{}-", tag);
    const std::size_t at = file.rfind(mark);
    if (!file.starts_with('.') || at == std::string::npos || at < 2) continue;
    pid_t process = 0;
    const char* end = file.data() + file.size();
    const auto [rest, failure] = std::from_chars(file.data() + at + mark.size(), end, process);
    if (failure == std::errc() && rest == end && process > 0) return Aside{file.substr(1, at - 1), tag, process};
  }
  return std::nullopt;
}

bool is_running(pid_t process) { return ::kill(process, 0) == 0 || errno != ESRCH; }

// Two folders change places at once. False where the file system can't do that.
bool exchange(const fs::path& a, const fs::path& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
}

// A folder path without a final slash, so that parent_path() and filename() mean what they say.
fs::path without_trailing_slash(fs::path path) { return path.filename().empty() ? path.parent_path() : path; }

}  // namespace

bool path_exists(const fs::path& path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (status.type() == fs::file_type::none) throw_input("file", "{}: {}", path.string(), failure.message());
  return fs::exists(status);
}

bool is_folder(const fs::path& path) {
  std::error_code failure;
  return path_exists(path) && fs::is_directory(path, failure);
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

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file(path, O_RDONLY);
  struct stat info {};
  if (file.get() < 0 || ::fstat(file.get(), &info) != 0) {
    throw_input("file", "{}: {}", path.string(), std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) throw_input("file", "{}: is not a regular file", path.string());
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) throw_input("file", "{}: could not be mapped: {}", path.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(std::span<const std::byte> part) const noexcept {
  if (part.empty()) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // The mapping begins at a page; its neighbours' bytes on the first and the last page only come back from the file.
  const auto begin = static_cast<std::size_t>(part.data() - data_) / page * page;
  const auto end = static_cast<std::size_t>(part.data() - data_) + part.size();
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  write_file_atomically(path, [&](std::ostream& out) { out.write(content.data(), std::ssize(content)); });
}

void write_file_atomically(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  const fs::path temporary = aside(path, "tmp");
  std::error_code ignored;
  try {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    if (!out) throw_error("file", "{}: could not be created: {}", path.string(), std::strerror(errno));
    write(out);
    out.close();
    if (!out) throw_error("file", "{}: could not be written: {}", path.string(), std::strerror(errno));
    sync_to_disk(temporary, O_WRONLY);
    fs::rename(temporary, path);
  } catch (const fs::filesystem_error& failure) {
    fs::remove(temporary, ignored);
    throw_error("file", "{}: could not be put in place: {}", path.string(), failure.code().message());
  } catch (...) {
    fs::remove(temporary, ignored);
    throw;
  }
}

void require_writable_file(const fs::path& path) {
  if (is_folder(path)) throw_input("file", "{}: is a folder; the name of a file to write is needed", path.string());
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

namespace {

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

}  // namespace

StagedFolder::StagedFolder(fs::path destination, IfPresent if_present)
    : destination_(real_destination(destination)), staging_(aside(destination_, "tmp")), if_present_(if_present) {
  remove_abandoned(destination_.parent_path(), destination_.filename().string());
  if (if_present == IfPresent::fail && !missing_or_empty(destination_)) {
    throw_input("file", "{}: exists and is not empty; choose another folder or remove it", destination_.string());
  }
  std::error_code failure;
  fs::remove_all(staging_, failure);
  fs::create_directories(staging_, failure);
  if (failure) throw_input("file", "{}: could not be created: {}", destination_.string(), failure.message());
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  if (!published_) fs::remove_all(staging_, ignored);
}

void StagedFolder::publish() {
  for (const auto& entry : fs::recursive_directory_iterator(staging_)) {
    if (entry.is_regular_file()) sync_to_disk(entry.path(), O_RDONLY);
  }
  sync_to_disk(staging_, O_RDONLY | O_DIRECTORY);  // the names of the files
  if (if_present_ == IfPresent::fail || missing_or_empty(destination_)) {
    put_in_place();  // which a folder with something in it withstands
  } else if (exchange(staging_, destination_)) {
    published_ = true;
    std::error_code ignored;
    sync_to_disk(destination_.parent_path(), O_RDONLY | O_DIRECTORY);
    fs::remove_all(staging_, ignored);
  } else {
    replace_in_two_renames();
  }
}

void StagedFolder::put_in_place() {
  std::error_code failure;
  fs::rename(staging_, destination_, failure);
  if (failure) throw_error("file", "{}: could not be put in place: {}", destination_.string(), failure.message());
  published_ = true;
  sync_to_disk(destination_.parent_path(), O_RDONLY | O_DIRECTORY);
}

// rename() does not replace a folder that is not empty, so the old one steps aside first.
void StagedFolder::replace_in_two_renames() {
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
    if (!aside || (!name.empty() && aside->name != name) || is_running(aside->process)) continue;
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

bool missing_or_empty(const fs::path& folder) {
  std::error_code failure;
  return !path_exists(folder) || (fs::is_directory(folder, failure) && fs::is_empty(folder, failure));
}

FolderLock::FolderLock(const fs::path& folder)
    : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0 || ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(descriptor_);
  throw_input("output", "{}: another process is writing into it; wait until it has ended", folder.string());
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

FolderLock::FolderLock(FolderLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FolderLock& FolderLock::operator=(FolderLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
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
