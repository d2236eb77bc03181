// What a person reads while a command runs: lines and one progress bar, both on stderr. Results go to stdout.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf {

/// Prints a line on stderr. Clears a progress bar that stands there first; the bar comes back with its next update.
/// Where stderr can't be written to any more, the line is dropped.
void log_line(std::string_view text);

/// Prints what a command ends with on stderr and, for a program that started this one, writes it into the file that the
/// variable RRHF_FAILURE_FILE names.
void log_failure(std::string_view text);

/// Prints a line of results on stdout, after clearing a bar that stands on the same terminal.
void print_line(std::string_view text);

template <class... Args>
void log(fmt::format_string<Args...> format, Args&&... args) {
  log_line(fmt::format(format, std::forward<Args>(args)...));
}

/// A line that begins with "warning: ".
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  log_line("warning: " + fmt::format(format, std::forward<Args>(args)...));
}

/// One status line about work under way. On a terminal it is redrawn in place at most ten times a second; otherwise a
/// plain line is printed every few seconds, so that a log file stays readable. The destructor clears the terminal's
/// line.
class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `text` is called only when something is to be drawn.
  void update(const std::function<std::string()>& text);

  /// Draws whatever the last moment was, as a line that stays.
  void finish(const std::string& text);

 private:
  std::chrono::steady_clock::time_point next_;
};

/// A piece of a status line. Where the line is too narrow, the pieces of the highest rank are left out first; rank 0
/// always stays.
struct StatusPart {
  std::string text;
  int rank = 0;
};

/// The parts that fit into `width` characters, two spaces between them, one before a bracket.
std::string fit_parts(const std::vector<StatusPart>& parts, std::size_t width);

/// Characters a status line may have: those of the terminal on stderr, or any number where there is none.
std::size_t status_width();

/// "[=====>    ]  42 %" for a share from 0 to 1.
std::string bar(double share, int width = 24);

/// "04:12", or "1:04:12" above an hour.
std::string clock_time(double seconds);

/// "1.84k", "312k", "2.1M": three significant digits.
std::string short_number(double value);
/// The same of bytes: "2.10GB".
std::string bytes_text(std::int64_t bytes);

/// "12,345".
std::string with_commas(long long value);

/// "1 query", "1,500 queries".
std::string counted(long long count, std::string_view one, std::string_view many);

}  // namespace rrhf
