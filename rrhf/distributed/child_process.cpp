#include "rrhf/distributed/child_process.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "rrhf/core/error.h"

extern char** environ;

namespace rrhf::distributed {
namespace {

std::vector<std::string> environment_with(const std::map<std::string, std::string>& variables) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!variables.contains(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  for (const auto& [name, value] : variables) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Runs between fork and exec in a copy of a process that had threads: nothing here may allocate or lock.
[[noreturn]] void become(const ChildCommand& command, char* const* arguments, char* const* variables, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // the parent died before it could be tied to it
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (command.results >= 0) ::dup2(command.results, STDOUT_FILENO);
  if (command.messages >= 0) ::dup2(command.messages, STDERR_FILENO);
  ::execve(command.program.c_str(), arguments, variables);
  ::_exit(127);
}

}  // namespace

pid_t start_child(const ChildCommand& command) {
  std::vector<std::string> words = command.arguments, variables = environment_with(command.variables);
  const std::vector<char*> argv = pointers_to(words), envp = pointers_to(variables);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw_error("distributed", "a process can't be started: {}", std::strerror(errno));
  if (child == 0) become(command, argv.data(), envp.data(), parent);
  return child;
}

std::string cause_of_end(int status) {
  if (WIFEXITED(status)) return fmt::format("exit code {}", WEXITSTATUS(status));
  const char* name = ::sigabbrev_np(WTERMSIG(status));
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", WTERMSIG(status));
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace rrhf::distributed
