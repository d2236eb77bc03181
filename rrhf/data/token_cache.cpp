#include "rrhf/data/token_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <ostream>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"

namespace rrhf::data {
namespace fs = std::filesystem;
namespace {

/// Held by the one process that makes a file, through a file beside it that goes with it.
class Turn {
 public:
  /// Waits until no other process holds it. Where there are no locks, does without.
  explicit Turn(fs::path path) : path_(std::move(path)) {
    while (!take()) {
    }
  }
  ~Turn() {
    if (descriptor_ < 0) return;
    ::unlink(path_.c_str());
    ::close(descriptor_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  // False when the file was taken away while this process waited for it: another one may lie there now.
  bool take() {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) return true;
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) log("tokens   another process is making {}; waiting for it", path_.string());
      while (::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
      }
    }
    struct stat held {
    }, there{};
    const bool same = ::fstat(descriptor_, &held) == 0 && ::stat(path_.c_str(), &there) == 0 &&
                      held.st_ino == there.st_ino && held.st_dev == there.st_dev;
    if (!same) ::close(std::exchange(descriptor_, -1));
    return same;
  }

  fs::path path_;
  int descriptor_ = -1;
};

// The rows in the file, if there is a good one.
std::optional<TokenRows> find_rows(const fs::path& file, const std::string& key, bool say_why_not) {
  std::error_code failure;
  if (!fs::is_regular_file(file, failure)) return std::nullopt;
  try {
    return TokenRows::open(file, key);
  } catch (const InputError& refused) {
    if (say_why_not) warn("{}; it is made again", refused.what());
    return std::nullopt;
  }
}

}  // namespace

TokenRows cached_rows(const fs::path& folder, const std::string& key,
                      const std::function<void(const TokenWriter::Sink&)>& write) {
  const std::string name = key.substr(0, 32);
  const fs::path file = folder / (name + ".tokens");
  if (auto rows = find_rows(file, key, false)) return std::move(*rows);
  make_writable_folder(folder);
  const Turn turn(folder / (name + ".lock"));
  if (auto rows = find_rows(file, key, true)) return std::move(*rows);
  remove_abandoned(folder);
  write_file_atomically(file, [&](std::ostream& out) {
    write([&](std::string_view bytes) {
      if (out.write(bytes.data(), std::ssize(bytes)).flush()) return;
      throw_error("data",
                  "{}: tokens could not be written: {}; name a folder with more room (--set data.cache=DIR), or keep "
                  "them in memory (--set data.cache=off)",
                  file.string(), std::strerror(errno));
    });
  });
  return TokenRows::open(file, key);
}

}  // namespace rrhf::data
