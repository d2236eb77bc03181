// Rows of ranked data, read one after the other from files of any size.
//
// Layouts (docs/data.md): RRHF JSON lines; GPT-4-LLM comparison v1 and v2 (one JSON array); HH-RLHF and preference
// JSON lines. Plain or gzip-compressed. One array-or-lines framing (frames.h) and one row parser a layout (layout.h)
// make them all, so that each layout is read as lines and as an array.
#pragma once

#include <filesystem>
#include <functional>
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
  /// Opens a file and, with DataFormat::automatic, finds its layout by content.
  /// Throws InputError when the file is missing, empty, or of no known layout (naming the keys it found).
  RowReader(const std::filesystem::path& path, DataFormat format);
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

/// All usable rows of the files, in order, with everything that is wrong with the rest.
/// `on_progress` gets the share read of all files.
struct Dataset {
  std::vector<RankedExample> rows;
  std::vector<Problem> problems;
};
Dataset read_all(const std::vector<std::filesystem::path>& paths, DataFormat format,
                 const std::function<void(double)>& on_progress = {});

/// Throws InputError when one of the problems is an error: up to 20 of them are named, the rest counted. `lister` is
/// the command that the message names for all of them; "" where there is none.
void require_no_errors(const std::vector<Problem>& problems, std::string_view lister = "rrhf data validate");

/// What `train` and `eval` do with a Dataset before a model is loaded: throws InputError naming up to 20 errors and
/// their count when there are any; and, when `needs_pairs`, naming each file in which no row has a pair of unequal
/// scores among its chosen responses.
void require_usable(const Dataset& dataset, bool needs_pairs, ResponseChoice responses = ResponseChoice::all);

/// "no pair in the whole file: ...", as train and `rrhf data validate` say it.
std::string no_pair_message(ResponseChoice responses);

}  // namespace rrhf::data
