// Lines of an output under way, kept beside it so that what is finished outlives an interruption.
//
// OUT.part is JSON lines: what is being computed first, then {"row", "line"} for each finished row, in any order. When
// all are there, OUT is written with the rows in order, and the part file goes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "rrhf/core/held_file.h"
#include "rrhf/core/json.h"

namespace rrhf::workflow {

enum class Existing { keep, overwrite };

/// Throws InputError when `out` is there and may not be overwritten, is a folder or one of `inputs`, or lies where
/// nothing can be written.
void require_free_place(const std::filesystem::path& out, Existing existing,
                        std::span<const std::filesystem::path> inputs = {});

/// Not thread-safe.
class PartLines {
 public:
  /// Goes on with `OUT.part` if it is there, and holds it. `identity` says what is computed from what: finished rows of
  /// another one are an InputError with all that differs, or (Existing::overwrite) dropped. A run that finishes no row
  /// leaves what is there, and nothing of its own. Throws InputError also while another run holds the file.
  PartLines(const std::filesystem::path& out, Json identity, std::size_t rows, Existing existing);

  bool has(std::size_t row) const { return !lines_[row].empty(); }
  std::size_t finished() const noexcept { return finished_; }
  std::size_t rows() const noexcept { return lines_.size(); }

  /// The line of a row; it is on disk on return. Throws Error when it can't be written.
  void add(std::size_t row, const Json& line);

  /// Writes OUT, whole or not at all, and removes the part file. All rows must be there. Throws InputError when OUT has
  /// appeared since this began and may not be overwritten; what is finished is kept.
  void complete();

  const std::filesystem::path& part() const noexcept { return part_.path(); }

 private:
  void read();
  bool take(const Json& line);
  bool goes_on_after(const Json& then) const;

  std::filesystem::path out_;
  Json identity_;
  Existing existing_;
  std::vector<std::string> lines_;
  std::size_t finished_ = 0;
  HeldFile part_;
  std::size_t kept_lines_ = 0;  // of the part file; what stands behind them is dropped by the first add()
  bool begun_ = false;
};

}  // namespace rrhf::workflow
