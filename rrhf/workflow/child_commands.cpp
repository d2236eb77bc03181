#include "rrhf/workflow/child_commands.h"

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <thread>
#include <utility>

#include "rrhf/core/descriptor.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/core/unicode.h"
#include "rrhf/distributed/child_process.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds between_looks{20};

Descriptor open_to_append(const fs::path& path) {
  std::ofstream(path, std::ios::app);  // creates it
  Descriptor file(path, O_WRONLY | O_APPEND);
  if (file.get() < 0) throw_input("output", "{}: can't be written: {}", path.string(), std::strerror(errno));
  return file;
}

// A stage under way. Not to outlive the chain it is of.
class RunningStage {
 public:
  RunningStage(std::size_t chain, const CommandChain& commands, std::size_t stage, int threads)
      : chain_(chain), commands_(&commands), stage_(stage) {
    const Descriptor results = open_to_append("/dev/null");
    std::optional<Descriptor> messages;
    if (!commands.log.empty()) messages = open_to_append(commands.log);
    fs::remove(commands.failure_file);
    distributed::ChildCommand child{.program = "/proc/self/exe",
                                    .arguments = commands.stages[stage].command,
                                    .results = results.get(),
                                    .messages = messages ? messages->get() : -1};
    child.arguments.insert(child.arguments.begin(), "rrhf");
    child.variables["RRHF_FAILURE_FILE"] = commands.failure_file.string();
    if (threads > 0) child.variables["OMP_NUM_THREADS"] = std::to_string(threads);
    process_ = distributed::start_child(child);
  }

  ~RunningStage() {
    if (process_ < 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  RunningStage(RunningStage&& other) noexcept { *this = std::move(other); }
  RunningStage& operator=(RunningStage&& other) noexcept {
    std::swap(chain_, other.chain_);
    std::swap(commands_, other.commands_);
    std::swap(stage_, other.stage_);
    std::swap(process_, other.process_);
    return *this;
  }

  std::size_t chain() const noexcept { return chain_; }
  std::size_t stage() const noexcept { return stage_; }
  void ask_to_stop() const { ::kill(process_, SIGTERM); }

  // waitpid's status once the process has ended.
  std::optional<int> ended() {
    int status = 0;
    if (::waitpid(process_, &status, WNOHANG) != process_) return std::nullopt;
    process_ = -1;
    return status;
  }

  ChainFailure failure(int status) const {
    const fs::path& why = commands_->failure_file;
    return {.chain = chain_,
            .name = commands_->name,
            .what = fmt::format("{} ended with {}", commands_->stages[stage_].doing, distributed::cause_of_end(status)),
            .why = path_exists(why) ? std::string(strip(read_file(why))) : "",
            .refused = WIFEXITED(status) && WEXITSTATUS(status) == 2};
  }

 private:
  std::size_t chain_ = 0;
  const CommandChain* commands_ = nullptr;
  std::size_t stage_ = 0;
  pid_t process_ = -1;
};

// Alone, a command takes the threads that this process was given.
int threads_each(std::size_t at_once) {
  if (at_once < 2 || std::getenv("OMP_NUM_THREADS") != nullptr) return 0;
  return std::max(1, distributed::usable_cores() / static_cast<int>(at_once));
}

class ChainRunner {
 public:
  ChainRunner(std::span<const CommandChain> chains, const ChainOptions& options)
      : chains_(chains), options_(options), threads_(threads_each(std::min(options.at_once, chains.size()))) {}

  std::vector<ChainFailure> run() {
    const StopSignals signals;
    while (more_to_start() || !running_.empty()) {
      while (more_to_start() && running_.size() < options_.at_once) {
        if (StopSignals::requested()) break;
        start(next_++, 0);
      }
      std::this_thread::sleep_for(between_looks);
      if (StopSignals::requested()) stop();
      look();
    }
    if (StopSignals::requested()) throw Interrupted("run", "stopped");
    std::ranges::sort(failures_, {}, &ChainFailure::chain);
    return std::move(failures_);
  }

 private:
  bool more_to_start() const { return !stopping_ && next_ < chains_.size(); }

  void start(std::size_t chain, std::size_t stage) {
    const CommandChain& commands = chains_[chain];
    const std::string& doing = commands.stages[stage].doing;
    log("[{} of {}] {}: {}", chain + 1, chains_.size(), commands.name, doing);
    try {
      commands.prepare();
      running_.emplace_back(chain, commands, stage, threads_);
    } catch (const std::exception& error) {
      if (commands.log.empty()) log_line(error.what());
      fail({.chain = chain,
            .name = commands.name,
            .what = doing + " could not begin",
            .why = error.what(),
            .refused = dynamic_cast<const InputError*>(&error) != nullptr});
    }
  }

  void stop() {
    if (std::exchange(stopping_, true)) return;
    for (const RunningStage& stage : running_) stage.ask_to_stop();
  }

  void look() {
    for (std::size_t i = 0; i < running_.size();) {
      const std::optional<int> status = running_[i].ended();
      if (!status) {
        ++i;
        continue;
      }
      const RunningStage ended = std::move(running_[i]);
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
      if (*status != 0) {
        fail(ended.failure(*status));
      } else if (ended.stage() + 1 == chains_[ended.chain()].stages.size()) {
        options_.ended(ended.chain());
      } else if (!stopping_) {
        start(ended.chain(), ended.stage() + 1);
      }
    }
  }

  // What ends badly after it was asked to stop did as it was asked.
  void fail(ChainFailure failure) {
    if (stopping_) return;
    const CommandChain& chain = chains_[failure.chain];
    const bool on_terminal = chain.log.empty();  // which has the cause already
    log("[{} of {}] {}: {}", failure.chain + 1, chains_.size(), failure.name,
        on_terminal ? failure.what : failure.text());
    std::ofstream(chain.failure_file) << failure.text() << '\n';
    failures_.push_back(std::move(failure));
    options_.ended(failures_.back().chain);
  }

  std::span<const CommandChain> chains_;
  const ChainOptions& options_;
  int threads_;
  std::size_t next_ = 0;
  std::vector<RunningStage> running_;
  std::vector<ChainFailure> failures_;
  bool stopping_ = false;
};

}  // namespace

std::vector<ChainFailure> run_chains(std::span<const CommandChain> chains, const ChainOptions& options) {
  return ChainRunner(chains, options).run();
}

}  // namespace rrhf::workflow
