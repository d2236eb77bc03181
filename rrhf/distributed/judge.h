// Decides from the ranks' signs of life whether one of them is dead, stuck, or cut off. No clock, no network: a
// function of what was seen.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/distributed/verdict.h"

namespace rrhf::distributed {

using Moment = std::chrono::steady_clock::time_point;

/// A rank's last sign of life.
struct Sign {
  std::string host;
  std::int64_t collectives = 0;  ///< how many it has begun
  bool left = false;             ///< it has ended its part of the run
  Moment seen;                   ///< when it last changed, by the clock of the one who looks
};

/// What one rank knows.
struct Observed {
  int rank = 0;
  std::vector<Sign> signs;  ///< of all ranks; its own is not looked at
  Moment now;
  Moment store_answered;          ///< when the meeting point last did
  std::string store;              ///< what holds it, for messages
  std::int64_t collectives = 0;   ///< how many this rank has begun
  Moment last_collective;         ///< when it began the last of them
  std::string operation;          ///< and which that was
  std::optional<Moment> waiting;  ///< since when it has been waiting for one to end
  std::optional<Moment> broken;   ///< when a collective failed here
  std::string broken_text;
};

struct Limits {
  std::chrono::milliseconds timeout{300'000};  ///< without a sign, or waited for in a collective
  std::chrono::milliseconds beat{1'000};       ///< between a rank's signs
};

/// Once a collective has failed, a rank without a sign for five beats is the reason: it died, or its machine can't be
/// reached. With all alive for ten, the failure itself is all there is to tell. Otherwise a rank must be silent, or be
/// waited for in a collective, as long as the timeout; where all have come to a collective that does not end even so,
/// it is the collective that failed.
std::optional<Verdict> judge(const Observed& observed, const Limits& limits);

/// Moves what was seen by `time`, at most to `now`: for a process that was stopped itself, and with it maybe all
/// others. It has heard nobody in that time, and nobody it waited for is to blame.
void leave_out(std::chrono::steady_clock::duration time, Moment now, Observed& observed);

}  // namespace rrhf::distributed
