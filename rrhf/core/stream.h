// Bytes from a plain or gzip-compressed file, a piece at a time, so that a file of any size is read in bounded memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace rrhf {

/// Reads a file from its start. Compression is found by content (gzip's two magic bytes), not by name.
/// Not thread-safe; movable.
class ByteStream {
 public:
  /// Throws InputError when the file is missing, no regular file, or can't be opened.
  explicit ByteStream(const std::filesystem::path& path);
  ~ByteStream();
  ByteStream(ByteStream&&) noexcept;
  ByteStream& operator=(ByteStream&&) noexcept;

  /// The next bytes, at most 256 KiB; empty at the end. Valid until the next call.
  /// Throws InputError when the compressed data are broken, end too soon, or are followed by anything but further gzip
  /// data and zeros.
  std::string_view read();

  /// Bytes of the file (compressed as it lies on disk) consumed so far, and its size: for a progress bar.
  std::size_t consumed() const;
  std::size_t size() const noexcept { return size_; }

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::size_t size_ = 0;
};

/// Lines of a ByteStream, without their line ends ("\n" or "\r\n").
class LineReader {
 public:
  struct Line {
    std::string_view text;   ///< valid until the next call
    std::size_t number = 0;  ///< from 1
  };

  explicit LineReader(ByteStream& stream) : stream_(&stream) {}

  /// The next line, or nothing at the end of the stream. A byte order mark before the first line is passed over.
  /// Throws InputError (named `where`) for a line above 256 MiB.
  std::optional<Line> next(std::string_view where);

 private:
  ByteStream* stream_;
  std::string_view piece_;
  std::string line_;
  std::size_t number_ = 0;
};

}  // namespace rrhf
