// Ctrl-C, SIGTERM and the end of a terminal (SIGHUP) as a question that long work asks between steps.
#pragma once

namespace rrhf {

/// While one lives, SIGINT, SIGTERM and SIGHUP set a flag instead of ending the process; a second signal ends it at
/// once. Signals within half a second are one request: a service manager sends it to a process and to its starter,
/// which passes it on. A SIGHUP that is ignored (nohup) stays so. At most one at a time; the default handling comes
/// back with the destructor.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// True once a signal came. Safe from any thread.
  static bool requested() noexcept;
};

}  // namespace rrhf
