#include "rrhf/core/stream.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "rrhf/core/error.h"

namespace rrhf {
namespace fs = std::filesystem;
namespace {

using Buffer = std::array<char, std::size_t{256} << 10>;

constexpr std::string_view gzip_magic = "\x1f\x8b";
constexpr int gzip_only = 15 + 16;  // of zlib's windowBits: the largest window, gzip's header and trailer

}  // namespace

// zlib's own file functions end without an error where a later gzip member is broken, and pass over what follows the
// last: rows would be lost unseen.
struct ByteStream::State {
  explicit State(const fs::path& path) : path(path.string()), file(path, std::ios::binary) {
    if (!file) throw_input("data", "{}: {}", this->path, std::strerror(errno));
    fill();
    compressed = left.starts_with(gzip_magic);
    if (compressed && ::inflateInit2(&inflater, gzip_only) != Z_OK) throw_error("data", "zlib could not be set up");
  }
  ~State() {
    if (compressed) ::inflateEnd(&inflater);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // The next piece of the file; false at its end.
  bool fill() {
    file.read(raw.data(), std::ssize(raw));
    if (file.bad()) throw_input("data", "{}: could not be read: {}", path, std::strerror(errno));
    left = {raw.data(), static_cast<std::size_t>(file.gcount())};
    consumed += left.size();
    return !left.empty();
  }

  std::string_view plain() {
    if (left.empty()) fill();
    return std::exchange(left, {});
  }

  std::string_view unpacked() {
    std::size_t produced = 0;
    while (produced == 0) {
      if (left.empty() && !pending && !fill()) {
        if (in_member) broken("end of file");
        return {};
      }
      if (in_member || begin_member()) produced = inflate();
    }
    return {buffer.data(), produced};
  }

  // A file may be several gzip files one after the other. Zeros behind the last are padding, as gzip takes them.
  bool begin_member() {
    if (members > 0) left.remove_prefix(std::min(left.find_first_not_of('\0'), left.size()));
    if (left.empty()) return false;
    if (::inflateReset(&inflater) != Z_OK) throw_error("data", "zlib could not be set up");
    ++members;
    return in_member = true;
  }

  std::size_t inflate() {
    inflater.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(left.data()));
    inflater.avail_in = static_cast<uInt>(left.size());
    inflater.next_out = reinterpret_cast<Bytef*>(buffer.data());
    inflater.avail_out = static_cast<uInt>(buffer.size());
    const int code = ::inflate(&inflater, Z_NO_FLUSH);
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
      broken(inflater.msg == nullptr ? "not gzip data" : inflater.msg);
    }
    left.remove_prefix(left.size() - inflater.avail_in);
    in_member = code != Z_STREAM_END;
    pending = in_member && inflater.avail_out == 0;
    return buffer.size() - inflater.avail_out;
  }

  [[noreturn]] void broken(std::string_view reason) const {
    throw_input("data", "{}: the compressed data are broken or end too soon: {}{}", path, reason,
                members > 1 ? fmt::format(" (in the file's gzip member {}, or it is no gzip data)", members) : "");
  }

  std::string path;
  std::ifstream file;
  bool compressed = false;
  std::size_t consumed = 0;
  std::string_view left;  // of `raw`: read and not handed on
  z_stream inflater{};
  bool in_member = false;
  bool pending = false;  // zlib may hold more output than fitted
  int members = 0;
  Buffer raw{}, buffer{};
};

ByteStream::ByteStream(const fs::path& path) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (fs::is_directory(status)) throw_input("data", "{}: is a folder; a file is needed", path.string());
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    throw_input("data", "{}: is a pipe or a device; data are read more than once, so save them into a file first",
                path.string());
  }
  size_ = fs::file_size(path, failure);
  if (failure) throw_input("data", "{}: {}", path.string(), failure.message());
  state_ = std::make_unique<State>(path);
}

ByteStream::~ByteStream() = default;
ByteStream::ByteStream(ByteStream&&) noexcept = default;
ByteStream& ByteStream::operator=(ByteStream&&) noexcept = default;

std::string_view ByteStream::read() { return state_->compressed ? state_->unpacked() : state_->plain(); }

std::size_t ByteStream::consumed() const { return state_->consumed - state_->left.size(); }

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
