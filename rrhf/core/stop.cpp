#include "rrhf/core/stop.h"

#include <csignal>

namespace rrhf {
namespace {

// A signal handler reaches nothing but static storage.
volatile std::sig_atomic_t stop_requested = 0;

extern "C" void on_stop_signal(int signal) {
  if (stop_requested != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
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
