#include "rrhf/core/log.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <mutex>

#include "rrhf/core/unicode.h"

namespace rrhf {
namespace {

using Clock = std::chrono::steady_clock;

// The one terminal line that may stand unfinished on stderr. A process has one stderr, so this is one object.
class Screen {
 public:
  static Screen& get() {
    static Screen screen;
    return screen;
  }

  bool terminal() const noexcept { return terminal_; }

  void line(std::string_view text) {
    const std::scoped_lock lock(mutex_);
    clear_status();
    write(fmt::format("{}\n", text));
  }

  void status(std::string text) {
    const std::scoped_lock lock(mutex_);
    const std::size_t width = terminal_width();
    if (code_points(text) > width) text = width > 3 ? shorten(text, width - 3) : "";
    write("\r\x1b[K" + text);
    status_stands_ = true;
  }

  // Without the last column, where some terminals wrap.
  static std::size_t terminal_width() {
    winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1u : 119u;
  }

  void result(std::string_view text) {
    const std::scoped_lock lock(mutex_);
    clear_status();
    fmt::print(stdout, "{}\n", text);
  }

  void clear() {
    const std::scoped_lock lock(mutex_);
    clear_status();
  }

 private:
  // A terminal that was closed and a full disk under a log end no run: what can't be said is dropped.
  static void write(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  }

  void clear_status() {
    if (status_stands_) write("\r\x1b[K");
    status_stands_ = false;
  }

  std::mutex mutex_;
  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  bool status_stands_ = false;
};

}  // namespace

void log_line(std::string_view text) { Screen::get().line(text); }

void log_failure(std::string_view text) {
  log_line(text);
  if (const char* file = std::getenv("RRHF_FAILURE_FILE")) std::ofstream(file) << text << '\n';
}

void print_line(std::string_view text) { Screen::get().result(text); }

std::string fit_parts(const std::vector<StatusPart>& parts, std::size_t width) {
  int highest = 0;
  for (const StatusPart& part : parts) highest = std::max(highest, part.rank);
  std::string line;
  for (int most = highest; most >= 0; --most) {
    line.clear();
    for (const StatusPart& part : parts) {
      if (part.rank > most) continue;
      if (!line.empty()) line += part.text.starts_with('(') ? " " : "  ";
      line += part.text;
    }
    if (code_points(line) <= width) break;
  }
  return line;
}

std::size_t status_width() { return Screen::get().terminal() ? Screen::terminal_width() : std::string::npos; }

// The first update waits a moment, so that work of a second prints nothing.
Progress::Progress() : next_(Clock::now() + std::chrono::milliseconds(Screen::get().terminal() ? 200 : 3000)) {}

Progress::~Progress() { Screen::get().clear(); }

void Progress::update(const std::function<std::string()>& text) {
  const auto now = Clock::now();
  if (now < next_) return;
  Screen& screen = Screen::get();
  if (screen.terminal()) {
    screen.status(text());
    next_ = now + std::chrono::milliseconds(100);
  } else {
    screen.line(text());
    next_ = now + std::chrono::seconds(5);
  }
}

void Progress::finish(const std::string& text) { Screen::get().line(text); }

std::string bar(double share, int width) {
  const int filled = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * width));
  std::string cells(static_cast<std::size_t>(filled), '=');
  if (filled > 0 && filled < width) cells.back() = '>';
  cells.resize(static_cast<std::size_t>(width), ' ');
  return fmt::format("[{}] {:3.0f} %", cells, 100 * std::clamp(share, 0.0, 1.0));
}

std::string clock_time(double seconds) {
  const auto whole = static_cast<long long>(std::max(0.0, std::round(seconds)));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{:02}:{:02}", whole / 60, whole % 60);
}

std::string short_number(double value) {
  const char* unit = "";
  for (const char* larger : {"k", "M", "G", "T"}) {
    if (std::abs(value) < 999.5) break;
    value /= 1000;
    unit = larger;
  }
  const bool whole = *unit == '\0' && value == std::floor(value);
  const int decimals = whole || std::abs(value) >= 99.95 ? 0 : std::abs(value) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, decimals, unit);
}

std::string bytes_text(std::int64_t bytes) { return short_number(static_cast<double>(bytes)) + "B"; }

std::string with_commas(long long value) {
  const std::string digits = fmt::format("{}", value);
  const std::size_t sign = value < 0 ? 1 : 0;
  std::string result;
  for (std::size_t at = 0; at < digits.size(); ++at) {
    if (at > sign && (digits.size() - at) % 3 == 0) result += ',';
    result += digits[at];
  }
  return result;
}

std::string counted(long long count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", with_commas(count), count == 1 ? one : many);
}

}  // namespace rrhf
