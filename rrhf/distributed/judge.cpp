#include "rrhf/distributed/judge.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace rrhf::distributed {
namespace {

using Seconds = std::chrono::duration<double>;

// How much longer than the timeout all may wait in one collective: who is late, where somebody is, is found first.
constexpr std::chrono::seconds longest_in_common{10};

double seconds(std::chrono::steady_clock::duration time) { return Seconds(time).count(); }

// "rank 2 on gpu7", or "ranks 2, 3 on gpu7, gpu8".
std::string names(const Observed& observed, const std::vector<int>& ranks) {
  std::vector<std::string> hosts;
  for (const int rank : ranks) {
    const std::string& host = observed.signs[static_cast<std::size_t>(rank)].host;
    if (hosts.empty() || hosts.back() != host) hosts.push_back(host);
  }
  return fmt::format("{} {} on {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "),
                     fmt::join(hosts, ", "));
}

template <class Holds>
std::vector<int> others_that(const Observed& observed, Holds holds) {
  std::vector<int> ranks;
  for (int rank = 0; rank < std::ssize(observed.signs); ++rank) {
    if (rank != observed.rank && holds(observed.signs[static_cast<std::size_t>(rank)])) ranks.push_back(rank);
  }
  return ranks;
}

// The ranks silent for longer than `limit`, together with those that fell silent up to two beats later. Silence counts
// only up to the last time the store was read.
std::vector<int> silent(const Observed& observed, const Limits& limits, std::chrono::milliseconds limit) {
  const auto longer_than = [&](std::chrono::milliseconds time) {
    return others_that(observed,
                       [&](const Sign& sign) { return !sign.left && observed.store_answered - sign.seen > time; });
  };
  return longer_than(limit).empty() ? std::vector<int>() : longer_than(limit - 2 * limits.beat);
}

Verdict blame(const std::vector<int>& ranks, std::string text) {
  return {.rank = ranks.front(), .text = std::move(text)};
}

std::optional<Verdict> judge_broken(const Observed& observed, const Limits& limits) {
  const std::vector<int> left = others_that(observed, [](const Sign& sign) { return sign.left; });
  if (!left.empty()) {
    return blame(left, fmt::format("{} left the run while the others went on ({})", names(observed, left),
                                   observed.broken_text));
  }
  if (const auto gone = silent(observed, limits, 5 * limits.beat); !gone.empty()) {
    return blame(gone, fmt::format("{} died or can't be reached ({})", names(observed, gone), observed.broken_text));
  }
  if (observed.now - *observed.broken <= 10 * limits.beat) return std::nullopt;
  return blame({observed.rank}, fmt::format("{} can't go on, though all ranks are alive: {}",
                                            names(observed, {observed.rank}), observed.broken_text));
}

}  // namespace

std::optional<Verdict> judge(const Observed& observed, const Limits& limits) {
  if (observed.broken) {
    if (auto verdict = judge_broken(observed, limits)) return verdict;
  }
  if (observed.now - observed.store_answered > limits.timeout) {
    return Verdict{.rank = 0,
                   .text = fmt::format("{} has not answered for {:.0f} s: the link to it is cut, or it is stuck",
                                       observed.store, seconds(observed.now - observed.store_answered))};
  }
  if (const auto ranks = silent(observed, limits, limits.timeout); !ranks.empty()) {
    return blame(ranks, fmt::format("{} gave no sign of life for {:.0f} s: hung, stopped or cut off "
                                    "(parallel.timeout_s)",
                                    names(observed, ranks), seconds(limits.timeout)));
  }
  if (observed.now - observed.last_collective > limits.timeout) {
    // Of a rank that can't be heard nothing is known but an old count: behind a cut link it is not to blame.
    const auto late = others_that(observed, [&](const Sign& sign) {
      return sign.collectives < observed.collectives && observed.now - sign.seen <= 5 * limits.beat;
    });
    if (!late.empty()) {
      return blame(late, fmt::format("{} hung: the others have waited for it in {} for {:.0f} s (parallel.timeout_s; "
                                     "a longer one if it was only slow)",
                                     names(observed, late), observed.operation, seconds(limits.timeout)));
    }
  }
  if (observed.waiting && observed.now - *observed.waiting > limits.timeout + longest_in_common) {
    return blame(
        {observed.rank},
        fmt::format("{} can't go on, though all ranks are alive and have come as far: {} has not ended for "
                    "{:.0f} s (parallel.timeout_s)",
                    names(observed, {observed.rank}), observed.operation, seconds(observed.now - *observed.waiting)));
  }
  return std::nullopt;
}

void leave_out(std::chrono::steady_clock::duration time, Moment now, Observed& observed) {
  const auto move = [&](Moment& moment) { moment = std::min(now, moment + time); };
  for (Sign& sign : observed.signs) move(sign.seen);
  move(observed.store_answered);
  move(observed.last_collective);
  if (observed.waiting) move(*observed.waiting);
  if (observed.broken) move(*observed.broken);
}

}  // namespace rrhf::distributed
