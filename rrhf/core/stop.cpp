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

}  // namespace

StopSignals::StopSignals() {
  stop_requested = 0;
  std::signal(SIGINT, on_stop_signal);
  std::signal(SIGTERM, on_stop_signal);
}

StopSignals::~StopSignals() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool StopSignals::requested() noexcept { return stop_requested != 0; }

}  // namespace rrhf
