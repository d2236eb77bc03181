#include "rrhf/core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"

namespace rrhf {
namespace fs = std::filesystem;

// Without O_NONBLOCK, open() waits until something writes into a FIFO. Regular files don't know the flag.
MappedFile::MappedFile(const fs::path& path) : path_(path), file_(path, O_RDONLY | O_NONBLOCK) {
  struct stat info {};
  if (file_.get() < 0 || ::fstat(file_.get(), &info) != 0) {
    throw_input("file", "{}: {}", path.string(), std::strerror(errno));
  }
  if (!S_ISREG(info.st_mode)) {
    throw_input("file", "{}: is {}; a regular file is needed", path.string(), kind_of_file(path));
  }
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file_.get(), 0);
  if (address == MAP_FAILED && errno == ENOMEM) {
    throw_error(
        "memory",
        "{}: its {} can't be mapped by this process for want of memory (ulimit -v and batch systems set limits)",
        path.string(), bytes_text(static_cast<std::int64_t>(size_)));
  }
  if (address == MAP_FAILED) throw_input("file", "{}: could not be mapped: {}", path.string(), std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::move(other.file_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::require_whole() const {
  struct stat info {};
  if (::fstat(file_.get(), &info) != 0) throw_input("file", "{}: {}", path_.string(), std::strerror(errno));
  const auto now = static_cast<std::size_t>(info.st_size);
  if (now >= size_) return;
  throw_input("file", "{}: had {} bytes when it was opened and has {} now: it was cut short or written anew meanwhile",
              path_.string(), size_, now);
}

void MappedFile::release(std::span<const std::byte> part) const noexcept {
  if (part.empty()) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // The mapping begins at a page; its neighbours' bytes on the first and the last page only come back from the file.
  const auto begin = static_cast<std::size_t>(part.data() - data_) / page * page;
  const auto end = static_cast<std::size_t>(part.data() - data_) + part.size();
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace rrhf
