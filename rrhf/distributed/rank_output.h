// Where a rank's lines go: rank 0's to the terminal, every other one's to a file of its own.
#pragma once

#include <filesystem>

#include "rrhf/distributed/environment.h"
#include "rrhf/distributed/verdict.h"

namespace rrhf::distributed {

/// `output`/logs/rank-N.log.
std::filesystem::path log_file(const std::filesystem::path& output, int rank);

/// For ranks above 0 that were not started by `--processes`, which does it before they start: from the constructor to
/// the destructor, stdout and stderr of the process are appended to their log file.
class RankOutput {
 public:
  /// Does nothing for an empty `output`. Throws InputError when the folder can't be written to.
  RankOutput(const Meeting& meeting, const std::filesystem::path& output);
  ~RankOutput();
  RankOutput(const RankOutput&) = delete;
  RankOutput& operator=(const RankOutput&) = delete;

  /// A Speaker: prints why the run ends on this rank's own stderr, and on the terminal where it stands in for rank 0.
  /// With `--processes` the starter speaks to the terminal.
  void speak(const Verdict& verdict, bool stands_in) const;

 private:
  Meeting meeting_;
  int terminal_ = -1;  // the stderr there was before
};

}  // namespace rrhf::distributed
