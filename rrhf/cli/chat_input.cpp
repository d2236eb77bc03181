#include "rrhf/cli/chat_input.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>

namespace rrhf::cli {
namespace {

// A Ctrl-C just before a read(), or one that another thread is given, would leave the read() waiting: the flag is
// looked at this often.
constexpr int look_ms = 50;

// A signal handler reaches nothing but static storage.
volatile std::sig_atomic_t interrupt_seen = 0;

extern "C" void on_interrupt(int) { interrupt_seen = 1; }

}  // namespace

ChatInput::ChatInput() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  ::sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // an answer that is being printed loses nothing
  ::sigaction(SIGINT, &action, &before_);
  forget();
}

ChatInput::~ChatInput() { ::sigaction(SIGINT, &before_, nullptr); }

bool ChatInput::interrupted() noexcept { return interrupt_seen != 0; }

void ChatInput::forget() noexcept { interrupt_seen = 0; }

ChatInput::Typed ChatInput::read(std::string_view prompt) {
  fmt::print(stderr, "{}", prompt);
  std::fflush(stderr);
  while (true) {
    if (const std::size_t end = rest_.find('\n'); end != std::string::npos) {
      Typed typed{end < longest_line ? Kind::line : Kind::too_long, rest_.substr(0, end)};
      rest_.erase(0, end + 1);
      return typed;
    }
    pollfd input{STDIN_FILENO, POLLIN, 0};
    const int ready = ::poll(&input, 1, look_ms);
    if (interrupted()) {
      forget();
      rest_.clear();
      return {Kind::interrupt, {}};
    }
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (rest_.empty()) return {Kind::end, {}};
      return {Kind::line, std::exchange(rest_, {})};
    }
    rest_.append(bytes.data(), static_cast<std::size_t>(count));
  }
}

}  // namespace rrhf::cli
