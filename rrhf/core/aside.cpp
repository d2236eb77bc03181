#include "rrhf/core/aside.h"

#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <random>

#include "rrhf/core/error.h"

namespace rrhf {
namespace fs = std::filesystem;
namespace {

// "PID" or "PID-RANDOM".
bool is_maker(std::string_view text) {
  const std::size_t dash = text.find('-');
  const std::string_view process = text.substr(0, dash);
  const auto all = [](std::string_view part, int (*kind)(int)) {
    return !part.empty() && std::ranges::all_of(part, [&](unsigned char c) { return kind(c) != 0; });
  };
  return all(process, std::isdigit) && (dash == text.npos || all(text.substr(dash + 1), std::isxdigit));
}

// Makes the file or folder, which must not be there yet. False, and errno set, when it can't be made.
bool make_new(const fs::path& path, Aside::Kind kind) {
  if (kind == Aside::Kind::folder) return ::mkdir(path.c_str(), 0777) == 0;
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return file >= 0 && ::close(file) == 0;
}

}  // namespace

fs::path aside(const fs::path& path, std::string_view tag) {
  std::random_device random;
  return path.parent_path() / fmt::format(".{}.{}-{}-{:08x}", path.filename().string(), tag, ::getpid(), random());
}

std::optional<AsideName> aside_name(const std::string& file_name) {
  for (const std::string_view tag : {"tmp", "old"}) {
    const std::string mark = fmt::format(".{}-", tag);
    const std::size_t at = file_name.rfind(mark);
    if (!file_name.starts_with('.') || at == std::string::npos || at < 2) continue;
    if (is_maker(std::string_view(file_name).substr(at + mark.size()))) {
      return AsideName{file_name.substr(1, at - 1), std::string(tag)};
    }
  }
  return std::nullopt;
}

fs::path without_aside(const fs::path& path) {
  fs::path result;
  for (const fs::path& part : path) {
    const auto name = aside_name(part.string());
    result /= name ? fs::path(name->name) : part;
  }
  return result;
}

bool try_lock(const Descriptor& file) { return file.get() >= 0 && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0; }

void sync_to_disk(const fs::path& path, int flags) {
  const Descriptor file(path, flags);
  if (file.get() < 0 || ::fsync(file.get()) != 0) {
    throw_error("file", "{}: could not be written to disk: {}", without_aside(path).string(), std::strerror(errno));
  }
}

// Between being made and being locked it may be taken for something left behind, and be removed: then another is made.
Aside::Aside(const fs::path& path, Kind kind) {
  constexpr int most_attempts = 100;
  for (int attempt = 0; attempt < most_attempts; ++attempt) {
    path_ = aside(path, "tmp");
    if (!make_new(path_, kind)) {
      if (errno == EEXIST) continue;
      break;
    }
    held_.emplace(path_, kind == Kind::folder ? O_RDONLY | O_DIRECTORY : O_RDWR);
    const bool held_by_other = !try_lock(*held_) && errno == EWOULDBLOCK;
    if (!held_by_other && is_own()) return;
    errno = EBUSY;
  }
  const std::string message =
      fmt::format("{}: could not be created: {}", without_aside(path).string(), std::strerror(errno));
  if (kind == Kind::folder) throw InputError("file", message);
  throw Error("file", message);
}

bool Aside::is_own() const {
  struct stat held {
  }, named{};
  return ::fstat(held_->get(), &held) == 0 && ::lstat(path_.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

void Aside::require_own() const {
  if (is_own()) return;
  throw_error("file", "{}: {}, where it was being written, was taken away or replaced by another process",
              without_aside(path_).string(), path_.filename().string());
}

}  // namespace rrhf
