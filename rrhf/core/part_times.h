// Where the time of a step goes, by part.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string_view>
#include <utility>

namespace rrhf {

/// Parts of a training step. Communication is time spent waiting for other processes.
enum class Part { data, embedding, norms, linear, attention, head, objective, optimizer, communication, other };

inline constexpr std::array part_names{"data", "embedding", "norms",     "linear",        "attention",
                                       "head", "objective", "optimizer", "communication", "other"};

/// A stopwatch that is read at the end of each part: the time since the last reading goes to that part, so that the
/// parts add up to the whole. Costs one look at the clock a reading. On a device that works asynchronously a part's
/// time is that of its launches, unless wait_with() says how to wait for the device. One thread at a time.
class PartTimes {
 public:
  using Clock = std::chrono::steady_clock;

  /// Forgets everything and starts the watch.
  void start() {
    seconds_ = {};
    last_ = Clock::now();
  }

  /// What to do before each reading from now on.
  void wait_with(std::function<void()> wait) { wait_ = std::move(wait); }

  void end_of(Part part) {
    if (wait_) wait_();
    const Clock::time_point now = Clock::now();
    seconds_[static_cast<std::size_t>(part)] += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }

  double seconds(Part part) const { return seconds_[static_cast<std::size_t>(part)]; }

  PartTimes& operator+=(const PartTimes& other) {
    for (std::size_t i = 0; i < seconds_.size(); ++i) seconds_[i] += other.seconds_[i];
    return *this;
  }

 private:
  std::array<double, part_names.size()> seconds_{};
  Clock::time_point last_ = Clock::now();
  std::function<void()> wait_;
};

/// Reads the watch if there is one.
inline void end_of(Part part, PartTimes* times) {
  if (times != nullptr) times->end_of(part);
}

}  // namespace rrhf
