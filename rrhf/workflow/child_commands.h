// Commands of this program run as processes of their own, some at a time: what one of them breaks or holds in memory
// is gone with it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace rrhf::workflow {

/// One command after the other; the next begins when the one before has ended well.
struct CommandChain {
  struct Stage {
    std::string doing;                 ///< "training", for messages
    std::vector<std::string> command;  ///< without the program's own name
  };

  std::string name;               ///< for messages
  std::function<void()> prepare;  ///< called just before each stage; what it throws is the stage's failure
  std::vector<Stage> stages;
  std::filesystem::path log;           ///< takes what it says on stderr; none: it has the terminal
  std::filesystem::path failure_file;  ///< holds why a stage failed, after it has
};

/// What went wrong with a chain.
struct ChainFailure {
  std::size_t chain = 0;
  std::string name;      ///< the chain's
  std::string what;      ///< "training ended with exit code 1"
  std::string why;       ///< what the command said last (core/log.h, log_failure()); "" of one that was killed
  bool refused = false;  ///< the command found its input wrong (exit code 2)

  std::string text() const { return why.empty() ? what : what + ": " + why; }
};

struct ChainOptions {
  std::size_t at_once = 1;                       ///< at least 1
  std::function<void(std::size_t chain)> ended;  ///< called as a chain ends, well or badly
};

/// Runs all chains in order and returns those that failed, in that order too; they do not stop the others. Results that
/// the commands print are dropped. Several at once share the processor's cores unless OMP_NUM_THREADS is set.
/// Throws Interrupted, when all have ended, after a stop signal, which it passes on (it listens for them itself).
std::vector<ChainFailure> run_chains(std::span<const CommandChain> chains, const ChainOptions& options);

}  // namespace rrhf::workflow
