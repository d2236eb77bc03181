#include "rrhf/distributed/launcher.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/distributed/child_process.h"
#include "rrhf/distributed/meeting.h"
#include "rrhf/distributed/rank_output.h"
#include "rrhf/distributed/verdict.h"

namespace rrhf::distributed {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// After a rank's bad end the others read the verdict by themselves within a beat; after a request to stop they save.
constexpr milliseconds to_hear{1'500}, to_save{60'000};
constexpr std::size_t most_quoted = 2'000;

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> host{};
  ::gethostname(host.data(), host.size() - 1);
  return host.data();
}

// The program's last message in a log from `begin` on: from the last line that starts with "[" to the end.
std::string last_message(const fs::path& log, std::size_t begin) {
  const std::string all = read_file(log);
  const std::string_view text = std::string_view(all).substr(std::min(begin, all.size()));
  std::size_t at = text.rfind("\n[");
  if (at != std::string_view::npos) ++at;
  if (at == std::string_view::npos && text.starts_with("[")) at = 0;
  if (at == std::string_view::npos) return "";
  std::string_view message = text.substr(at, most_quoted);
  while (message.ends_with('\n')) message.remove_suffix(1);
  return std::string(message);
}

struct Rank {
  pid_t process = -1;
  std::optional<int> status;  // waitpid's, once it has ended
  fs::path log;               // none for rank 0
  std::size_t log_begin = 0;

  bool bad() const { return status && *status != 0; }
  bool exited_with(int code) const { return status && WIFEXITED(*status) && WEXITSTATUS(*status) == code; }
};

class Starter {
 public:
  explicit Starter(const LaunchOptions& options) : options_(options), host_(host_name()) {
    c10d::TCPStoreOptions store;
    store.port = 0;
    store.isServer = true;
    store.waitWorkers = false;
    const auto server = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", store);
    port_ = server->getPort();
    store_ = c10::make_intrusive<c10d::PrefixStore>(store_prefix(0), server);
  }

  // An exception on the way must not leave ranks behind.
  ~Starter() {
    signal_all(SIGKILL);
    for (Rank& rank : ranks_) {
      if (!rank.status) ::waitpid(rank.process, nullptr, 0);
    }
  }
  Starter(const Starter&) = delete;
  Starter& operator=(const Starter&) = delete;

  int run() {
    for (int rank = 0; rank < options_.processes; ++rank) start(rank);
    while (std::ranges::any_of(ranks_, [](const Rank& rank) { return !rank.status; })) {
      wait_for_signal();
      reap();
      hurry();
    }
    return conclude();
  }

 private:
  void start(int number) {
    const int threads = std::max(1, usable_cores() / options_.processes);
    ChildCommand command{.program = "/proc/self/exe",
                         .arguments = options_.command,
                         .variables = {{"RANK", std::to_string(number)},
                                       {"WORLD_SIZE", std::to_string(options_.processes)},
                                       {"LOCAL_RANK", std::to_string(number)},
                                       {"LOCAL_WORLD_SIZE", std::to_string(options_.processes)},
                                       {"MASTER_ADDR", "127.0.0.1"},
                                       {"MASTER_PORT", std::to_string(port_)},
                                       {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                       {"TORCHELASTIC_RESTART_COUNT", "0"},
                                       {"RRHF_SUPERVISED", "1"}}};
    if (std::getenv("OMP_NUM_THREADS") == nullptr) command.variables["OMP_NUM_THREADS"] = std::to_string(threads);
    Rank rank;
    if (number > 0) {
      rank.log = log_file(options_.output, number);
      make_writable_folder(rank.log.parent_path());
      command.results = command.messages = ::open(rank.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
      if (command.results < 0)
        throw_input("output", "{}: can't be written: {}", rank.log.string(), std::strerror(errno));
      rank.log_begin = static_cast<std::size_t>(::lseek(command.results, 0, SEEK_END));
    }
    rank.process = start_child(command);
    if (command.results >= 0) ::close(command.results);
    ranks_.push_back(std::move(rank));
  }

  void signal_all(int signal) const {
    for (const Rank& rank : ranks_) {
      if (!rank.status) ::kill(rank.process, signal);
    }
  }

  void wait_for_signal() {
    const sigset_t set = watched_signals();
    const timespec moment{.tv_sec = 0, .tv_nsec = 200'000'000};
    const int signal = ::sigtimedwait(&set, nullptr, &moment);
    if (signal <= 0 || signal == SIGCHLD) return;
    stop_ = signal == SIGHUP ? SIGTERM : signal;
    signal_all(stop_);
  }

  void reap() {
    std::optional<std::size_t> to_blame;
    for (std::size_t number = 0; number < ranks_.size(); ++number) {
      Rank& rank = ranks_[number];
      int status = 0;
      if (rank.status || ::waitpid(rank.process, &status, WNOHANG) != rank.process) continue;
      rank.status = status;
      if (!rank.bad()) continue;
      if (!first_bad_) first_bad_ = Clock::now();
      // One that ended because of another is to blame only where there is no other.
      const bool better = !to_blame || ranks_[*to_blame].exited_with(ended_by_verdict);
      if (better && !as_asked(rank)) to_blame = number;
    }
    if (to_blame && !hurried_) propose(verdict_on(*to_blame));
  }

  // Ends as ranks do that were asked to stop.
  bool as_asked(const Rank& rank) const {
    return rank.exited_with(left_when_asked) ||
           (stop_ != 0 && WIFSIGNALED(*rank.status) && WTERMSIG(*rank.status) == stop_);
  }

  Verdict verdict_on(std::size_t number) const {
    const Rank& rank = ranks_[number];
    std::string text = fmt::format("rank {} on {} ended with {}", number, host_, cause_of_end(*rank.status));
    const std::string message = rank.log.empty() ? "" : last_message(rank.log, rank.log_begin);
    if (!message.empty()) text += ": " + message;
    return {.rank = static_cast<int>(number), .exit_code = rank.exited_with(2) ? 2 : 1, .text = std::move(text)};
  }

  void propose(const Verdict& verdict) {
    if (!verdict_) verdict_ = from_word(store_->compareSet("verdict", "", to_word(verdict)));
  }

  // Ends what does not leave by itself.
  void hurry() {
    if (!first_bad_) return;
    const auto waited = Clock::now() - *first_bad_;
    const milliseconds own_time = verdict_ ? to_hear : to_save;
    if (!hurried_ && waited > own_time) {
      hurried_ = true;
      signal_all(SIGTERM);
    }
    if (waited > own_time + options_.grace) signal_all(SIGKILL);
  }

  int conclude() {
    if (!first_bad_) return 0;
    if (!verdict_ && store_->check({"verdict"})) verdict_ = from_word(store_->get_to_str("verdict"));
    for (const int code : {1, 2}) {
      if (ranks_.front().exited_with(code)) return code;  // rank 0 has said it on the terminal
    }
    if (ranks_.front().exited_with(left_when_asked)) return 1;
    if (verdict_) {
      log_failure(fmt::format("[distributed] {}\n  logs: {}", verdict_->text,
                              log_file(options_.output, 1).parent_path().string()));
      return verdict_->exit_code;
    }
    log("[distributed] stopped before there was anything to save");
    return 1;
  }

  const LaunchOptions& options_;
  const std::string host_;
  std::uint16_t port_ = 0;
  c10::intrusive_ptr<c10d::Store> store_;
  std::vector<Rank> ranks_;
  std::optional<Clock::time_point> first_bad_;
  std::optional<Verdict> verdict_;
  int stop_ = 0;  // the signal that asked for the end
  bool hurried_ = false;
};

}  // namespace

int launch(const LaunchOptions& options) {
  const sigset_t set = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  Starter starter(options);
  return starter.run();
}

}  // namespace rrhf::distributed
