// `rrhf train --processes N`: starts the ranks of one machine and watches over them, so that nobody needs another
// program for it.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace rrhf::distributed {

struct LaunchOptions {
  int processes = 2;
  std::vector<std::string> command;        ///< program and arguments of every rank
  std::filesystem::path output;            ///< logs/rank-N.log of ranks above 0 go here; it can be written to
  std::chrono::milliseconds grace{5'000};  ///< from the request to leave to the kill
};

/// Runs the ranks to their end and returns the exit code for the whole: 0, or 1 or 2 when one failed.
///
/// Every rank is this program again, with torchrun's variables set; the starter holds the meeting point. Threads are
/// divided among the ranks unless OMP_NUM_THREADS is set. Rank 0 keeps the terminal.
/// The first rank that ends badly ends all, with one message on stderr: rank, host, cause. SIGINT, SIGTERM and SIGHUP
/// are passed on to all ranks. Ranks never outlive the starter: the kernel kills them when it dies. Blocks those
/// signals and SIGCHLD for its process. Throws Error when no process can be started.
int launch(const LaunchOptions& options);

}  // namespace rrhf::distributed
