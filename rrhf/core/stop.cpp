#include "rrhf/core/stop.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>

namespace rrhf {
namespace {

constexpr std::int64_t one_request_ms = 500;

// A signal handler reaches nothing but static storage.
volatile std::sig_atomic_t stop_requested = 0;
std::atomic<std::int64_t> requested_at_ms = 0;
static_assert(std::atomic<std::int64_t>::is_always_lock_free);

std::int64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

extern "C" void on_stop_signal(int signal) {
  const std::int64_t now = now_ms();
  if (stop_requested != 0 && now - requested_at_ms >= one_request_ms) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  if (stop_requested == 0) requested_at_ms = now;
  stop_requested = 1;
}

void handle_signals(void (*handler)(int)) {
  std::signal(SIGINT, handler);
  std::signal(SIGTERM, handler);
  if (std::signal(SIGHUP, handler) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
}

}  // namespace

StopSignals::StopSignals() {
  stop_requested = 0;
  handle_signals(on_stop_signal);
}

StopSignals::~StopSignals() { handle_signals(SIG_DFL); }

bool StopSignals::requested() noexcept { return stop_requested != 0; }

}  // namespace rrhf
