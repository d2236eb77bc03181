// A file cut into the texts of its rows: the elements of one JSON array, or the lines that are not empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>

#include "rrhf/core/json.h"
#include "rrhf/core/stream.h"
#include "rrhf/data/ranked_example.h"

namespace rrhf::data {

/// The text of one row, not yet parsed.
struct Frame {
  RowLocation where;
  std::string text;
  std::string broken;  ///< why the file could not be read any further; "" for a good frame. Such a frame is the last.
};

/// Reads frames in bounded memory (a row of over 256 MiB breaks the file). Not thread-safe, not movable.
class FrameReader {
 public:
  /// Throws InputError when the file is missing, can't be opened, or holds nothing but white space.
  explicit FrameReader(const std::filesystem::path& path);
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  /// The next frame, or nothing at the end. Throws InputError when compressed data are broken or end too soon.
  std::optional<Frame> next();

  bool is_array() const noexcept { return is_array_; }

  /// Share of the file's bytes read so far, 0 to 1.
  double share_read() const;

 private:
  std::optional<Frame> next_line();
  std::optional<Frame> next_element();
  void read_elements();
  void break_off(std::size_t byte, std::string reason);

  std::string file_;
  bool is_array_;
  ByteStream stream_;
  LineReader lines_;
  std::int64_t row_ = 0;

  // Of an array file only.
  ArraySplitter splitter_;
  std::deque<Frame> queue_;
  std::size_t skipped_ = 0;  // bytes before the splitter's first: a byte order mark
  std::size_t row_end_ = 0;  // where the last whole element ended
  bool ended_ = false;
};

}  // namespace rrhf::data
