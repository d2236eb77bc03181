// A file of lines that one run at a time reads, cuts and adds to.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/descriptor.h"

namespace rrhf {

/// Holds the file's lock until the object goes or the process ends, however it ends; file systems without locks give
/// none. A file in which nothing stands goes with the object. Not thread-safe.
class HeldFile {
 public:
  /// Opens the file, or makes it. `operation` is the word in brackets of messages.
  /// Throws InputError, naming the file, while another run holds it and for what is no regular file; Error when it
  /// can't be made.
  HeldFile(std::string operation, std::filesystem::path path);
  ~HeldFile();
  HeldFile(HeldFile&&) noexcept = default;
  HeldFile& operator=(HeldFile&&) = delete;

  /// Its lines without their ends. A last line without an end, torn when a run was killed, is left out.
  std::vector<std::string> lines() const;

  /// Keeps the first so many of its lines and drops what stands behind them.
  void keep(std::size_t lines);

  /// Adds lines, each with its end, and has handed them to the system when it returns. Throws Error when the disk is
  /// full.
  void add(std::string_view lines);

  /// Removes the file; what it says is no longer needed.
  void remove();

  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  Descriptor make_and_open() const;
  bool is_named() const;

  std::string operation_;
  std::filesystem::path path_;
  Descriptor held_;
  std::ofstream end_;
};

}  // namespace rrhf
