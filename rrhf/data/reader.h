// Rows of ranked data, read one after the other from files of any size.
//
// Layouts (docs/data.md): RRHF JSON lines; GPT-4-LLM comparison v1 and v2 (one JSON array); HH-RLHF and preference
// JSON lines. Plain or gzip-compressed. One array-or-lines framing (frames.h) and one row parser a layout (layout.h)
// make them all, so that each layout is read as lines and as an array.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/data/ranked_example.h"

namespace rrhf::data {

enum class Severity { warning, error };

/// Something about a row that its owner should know. An error makes the row unusable.
struct Problem {
  Severity severity = Severity::error;
  RowLocation where;
  std::string message;
  bool of_pairs = false;  ///< RowWarning::of_pairs
};

/// A row of a file: the example (when the row is usable), and what is to be said of it.
struct ReadRow {
  std::optional<RankedExample> example;
  std::vector<Problem> problems;
  RowLocation where;
};

/// Reads one file. Not thread-safe.
class RowReader {
 public:
  /// Opens a file and, with DataFormat::automatic, finds its layout by content. Warnings speak of `responses` alone.
  /// Throws InputError when the file is missing, empty, or of no known layout (naming the keys it found).
  RowReader(const std::filesystem::path& path, DataFormat format, ResponseChoice responses = ResponseChoice::all);
  ~RowReader();
  RowReader(RowReader&&) noexcept;
  RowReader& operator=(RowReader&&) noexcept;

  /// The next row, or nothing at the end. Never throws for what a row holds: broken JSON, wrong types, differing
  /// lengths, scores that are not finite are Problems of the row. A file that ends inside an array is an error Problem.
  /// Throws InputError only when no row can be cut out any more: broken gzip data, a line of over 256 MiB.
  std::optional<ReadRow> next();

  /// The layout and, where it is not the usual one, the framing: "RRHF JSON lines", "GPT-4-LLM comparison v2", ...
  const std::string& layout() const noexcept;

  /// Share of the file's bytes read so far, 0 to 1.
  double share_read() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The errors of rows: the first 20 and how many there are, so that a large file of them takes no memory.
class RowErrors {
 public:
  void add(Problem error);
  bool any() const noexcept { return count_ > 0; }

  /// Throws InputError when there are any: up to 20 of them are named, the rest counted. `lister` is the command that
  /// the message names for all of them; "" where there is none.
  void require_none(std::string_view lister = "rrhf data validate") const;

 private:
  std::vector<Problem> first_;
  std::int64_t count_ = 0;
};

/// The same for those of the problems that are errors.
void require_no_errors(const std::vector<Problem>& problems, std::string_view lister = "rrhf data validate");

}  // namespace rrhf::data
