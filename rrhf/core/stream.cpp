#include "rrhf/core/stream.h"

#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "rrhf/core/error.h"

namespace rrhf {
namespace fs = std::filesystem;

// zlib's gz* functions pass plain files through unchanged, which serves both cases with one path.
struct ByteStream::State {
  explicit State(const fs::path& path) : path(path.string()), file(::gzopen(path.c_str(), "rb")) {
    if (file == nullptr) throw_input("data", "{}: {}", this->path, std::strerror(errno));
  }
  ~State() { ::gzclose(file); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  std::string path;
  gzFile file;
  std::array<char, std::size_t{256} << 10> buffer{};
};

ByteStream::ByteStream(const fs::path& path) {
  std::error_code failure;
  if (fs::is_directory(path, failure)) throw_input("data", "{}: is a folder; a file is needed", path.string());
  size_ = fs::file_size(path, failure);
  if (failure) throw_input("data", "{}: {}", path.string(), failure.message());
  state_ = std::make_unique<State>(path);
}

ByteStream::~ByteStream() = default;
ByteStream::ByteStream(ByteStream&&) noexcept = default;
ByteStream& ByteStream::operator=(ByteStream&&) noexcept = default;

std::string_view ByteStream::read() {
  const int count = ::gzread(state_->file, state_->buffer.data(), static_cast<unsigned>(state_->buffer.size()));
  int code = Z_OK;
  const char* reason = ::gzerror(state_->file, &code);
  // A file cut inside its gzip stream reads as a normal end with Z_BUF_ERROR pending.
  if (count < 0 || code == Z_BUF_ERROR || code == Z_DATA_ERROR) {
    throw_input("data", "{}: the compressed data are broken or end too soon: {}", state_->path, reason);
  }
  return {state_->buffer.data(), static_cast<std::size_t>(count)};
}

std::size_t ByteStream::consumed() const {
  const auto offset = ::gzoffset(state_->file);
  return offset < 0 ? 0 : static_cast<std::size_t>(offset);
}

std::optional<LineReader::Line> LineReader::next(std::string_view where) {
  constexpr std::size_t longest = std::size_t{256} << 20;
  line_.clear();
  bool any = false;
  while (true) {
    if (piece_.empty()) {
      piece_ = stream_->read();
      if (piece_.empty()) break;
      if (number_ == 0 && line_.empty() && piece_.starts_with("\xef\xbb\xbf")) piece_.remove_prefix(3);
      if (piece_.empty()) continue;
    }
    any = true;
    const std::size_t end = piece_.find('\n');
    line_ += piece_.substr(0, end);
    if (line_.size() > longest) throw_input("data", "{}:{}: a line of over 256 MiB", where, number_ + 1);
    if (end == std::string_view::npos) {
      piece_ = {};
      continue;
    }
    piece_.remove_prefix(end + 1);
    break;
  }
  if (!any) return std::nullopt;
  if (line_.ends_with('\r')) line_.pop_back();
  return Line{line_, ++number_};
}

}  // namespace rrhf
