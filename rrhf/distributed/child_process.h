// A program run as a child that dies with its parent.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace rrhf::distributed {

struct ChildCommand {
  std::string program;                           ///< a path
  std::vector<std::string> arguments;            ///< the first is the name it is called by
  std::map<std::string, std::string> variables;  ///< set on top of this process's own
  int results = -1, messages = -1;               ///< files for its stdout and stderr; -1: this process's
};

/// Starts it in a process group of its own, so that the terminal's Ctrl-C reaches only the parent, with no signal
/// blocked. It is killed when the thread that calls this ends. Throws Error when it can't be started.
pid_t start_child(const ChildCommand& command);

/// "exit code 2", or "SIGKILL" for a signal. `status` is waitpid's.
std::string cause_of_end(int status);

/// Cores that this process may use.
int usable_cores();

}  // namespace rrhf::distributed
