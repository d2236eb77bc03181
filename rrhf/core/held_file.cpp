#include "rrhf/core/held_file.h"

#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <sstream>
#include <system_error>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf {
namespace fs = std::filesystem;

HeldFile::HeldFile(std::string operation, fs::path path)
    : operation_(std::move(operation)), path_(std::move(path)), held_(make_and_open()) {
  // The run that held it may have removed it between our opening and our locking it: then it is made again.
  while (held_.get() >= 0) {
    if (::flock(held_.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      throw_input(operation_, "{}: another run is at work on it; wait until it has ended, or choose another output",
                  path_.string());
    }
    if (is_named()) return;
    held_ = make_and_open();
  }
  throw_error(operation_, "{}: can't be written: {}", path_.string(), std::strerror(errno));
}

HeldFile::~HeldFile() {
  std::error_code ignored;
  if (held_.get() >= 0 && is_named() && fs::file_size(path_, ignored) == 0) fs::remove(path_, ignored);
}

Descriptor HeldFile::make_and_open() const {
  if (!has_file(path_)) std::ofstream(path_, std::ios::app).close();
  return {path_, O_RDWR};
}

bool HeldFile::is_named() const {
  struct stat held {
  }, named{};
  return ::fstat(held_.get(), &held) == 0 && ::stat(path_.c_str(), &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

std::vector<std::string> HeldFile::lines() const {
  std::istringstream text(read_file(path_));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line) && !text.eof();) lines.push_back(std::move(line));
  return lines;
}

void HeldFile::keep(std::size_t lines) {
  const std::string text = read_file(path_);
  std::size_t end = 0;
  while (lines-- > 0 && end < text.size()) end = text.find('\n', end) + 1;
  std::error_code failure;
  fs::resize_file(path_, end, failure);
  if (failure) throw_error(operation_, "{}: could not be written: {}", path_.string(), failure.message());
}

void HeldFile::add(std::string_view lines) {
  if (!end_.is_open()) end_.open(path_, std::ios::app | std::ios::binary);
  end_ << lines << std::flush;
  if (!end_) throw_error(operation_, "{}: could not be written: {}", path_.string(), std::strerror(errno));
}

void HeldFile::remove() {
  end_.close();
  fs::remove(path_);
}

}  // namespace rrhf
