// Why a run of several ranks ends: one rank's failure, in words that every rank and the starter repeat.
#pragma once

#include <functional>
#include <string>

#include "rrhf/distributed/world.h"

namespace rrhf::distributed {

struct Verdict {
  int rank = 0;         ///< the one to blame; the first of them where there are several
  int exit_code = 1;    ///< of all ranks
  bool spoken = false;  ///< the rank has printed its message itself
  std::string text;     ///< names rank, host and cause, without the word in brackets

  bool operator==(const Verdict&) const = default;
};

/// Says to people why the run ends: called once, just before the process does. `stands_in`: rank 0 can't say it, and
/// this rank is the one that does so in its place.
using Speaker = std::function<void(const Verdict& verdict, bool stands_in)>;

/// Exit codes between `--processes` and the ranks it started: ended because of another rank, for which the starter
/// speaks; left after the step when asked to stop.
constexpr int ended_by_verdict = 3, left_when_asked = 4;

/// As a word in the meeting point's store, and back. from_word() throws Error for anything else.
std::string to_word(const Verdict& verdict);
Verdict from_word(const std::string& word);

/// What the others say when a rank ends by an exception: its rank, host and own message.
Verdict verdict_of(const Place& place, const std::exception& failure);

}  // namespace rrhf::distributed
