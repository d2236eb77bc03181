#include "rrhf/distributed/watch.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <future>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"

namespace rrhf::distributed {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds look_every{250};
// How long the store may take over a call before this rank does without it.
constexpr milliseconds store_patience{3'000};
// A longer pause between two looks means that this process was stopped.
constexpr milliseconds stopped_for{3'000};
// How long a rank that holds the store stays at least, so that the others read the verdict.
constexpr milliseconds host_stays_at_least{3'000};

// Makes a call to the store, which may never return, on a thread of its own. False where it failed or took too long.
bool answered(std::function<void()> call) {
  const auto task = std::make_shared<std::packaged_task<void()>>(std::move(call));
  std::future<void> done = task->get_future();
  std::thread([task] { (*task)(); }).detach();
  if (done.wait_for(store_patience) != std::future_status::ready) return false;
  try {
    done.get();
  } catch (const std::exception&) {
    return false;
  }
  return true;
}

}  // namespace

Watch::Watch(WatchOptions options, c10::intrusive_ptr<c10d::Store> store)
    : options_(std::move(options)),
      talk_(std::make_shared<StoreTalk>(options_.place, options_.limits, options_.store, std::move(store))),
      known_(talk_->known()) {
  talk_->meet();
  std::thread([talk = talk_] { talk->talk(); }).detach();
  looker_ = std::thread([this] { look(); });
}

Watch::~Watch() {
  bool talked_out = false, judged = false;
  {
    std::unique_lock lock(known_.mutex);
    known_.leaving = true;
    known_.changed.notify_all();
    talked_out = known_.changed.wait_for(lock, store_patience, [this] { return known_.talked_out; });
    judged = known_.verdict.has_value();
  }
  looker_.join();
  // Where the store does not answer or is gone, nobody could be told.
  if (!talked_out || !answered([talk = talk_] { talk->write_sign(true); })) return;
  try {
    if (options_.hosts_store) wait_for_others(judged ? host_stays() : options_.limits.timeout);
  } catch (const std::exception&) {
    // Nobody is left to wait for.
  }
}

void Watch::began(const char* operation) {
  const std::scoped_lock lock(known_.mutex);
  ++known_.observed.collectives;
  known_.observed.last_collective = Clock::now();
  known_.observed.operation = operation;
}

void Watch::waits() {
  const std::scoped_lock lock(known_.mutex);
  known_.observed.waiting = Clock::now();
}

void Watch::went_on() {
  const std::scoped_lock lock(known_.mutex);
  known_.observed.waiting.reset();
}

void Watch::failed_in(const char* operation, const std::string& what) {
  {
    const std::scoped_lock lock(known_.mutex);
    known_.observed.broken = Clock::now();
    known_.observed.broken_text = fmt::format("{} failed: {}", operation, what.substr(0, what.find('\n')));
  }
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

void Watch::accuse_self(const std::exception& failure) noexcept {
  try {
    const Verdict verdict = verdict_of(options_.place, failure);
    // Nobody looks at the clock for this rank any more: not while c10d's groups end, nor while this object does.
    std::thread([text = verdict.text, code = verdict.exit_code, limit = options_.limits.timeout] {
      std::this_thread::sleep_for(limit);
      log_line(fmt::format("[distributed] {}; ended by force, since it had not left after {} s", text,
                           limit / std::chrono::seconds(1)));
      ::_exit(code);
    }).detach();
    std::unique_lock lock(known_.mutex);
    accusing_ = true;
    known_.proposal = verdict;
    known_.changed.notify_all();
    known_.changed.wait_for(lock, store_patience,
                            [this] { return known_.verdict.has_value() || !known_.store_failure.empty(); });
  } catch (const std::exception&) {
  }
}

void Watch::look() {
  std::optional<Moment> proposed;
  Moment last = Clock::now();
  for (std::unique_lock lock(known_.mutex); !known_.leaving && !accusing_;) {
    const Moment now = Clock::now();
    if (now - last > stopped_for) {
      leave_out(now - last, now, known_.observed);
      if (proposed) proposed = now;
    }
    last = now;
    known_.observed.now = now;
    if (known_.verdict) {
      const Verdict verdict = *known_.verdict;
      lock.unlock();
      end(verdict, false);
    }
    if (!known_.store_failure.empty()) {
      const Verdict verdict{.text =
                                fmt::format("{} died or can't be reached: {}", options_.store, known_.store_failure)};
      lock.unlock();
      end(verdict, true);
    }
    if (!known_.proposal) known_.proposal = judge(known_.observed, options_.limits);
    if (known_.proposal && !proposed) proposed = now;
    if (proposed) known_.changed.notify_all();
    if (proposed && now - *proposed > store_patience) {
      const Verdict verdict = *known_.proposal;
      lock.unlock();
      end(verdict, true);
    }
    known_.changed.wait_for(lock, look_every, [this] {
      return known_.leaving || accusing_ || known_.verdict || !known_.store_failure.empty();
    });
  }
}

void Watch::wait_for_others(milliseconds limit) {
  const auto all_gone = [this] {
    const std::scoped_lock lock(known_.mutex);
    for (int rank = 0; rank < options_.place.size; ++rank) {
      const Sign& sign = known_.observed.signs[static_cast<std::size_t>(rank)];
      const bool silent = Clock::now() - sign.seen > 5 * options_.limits.beat;
      if (rank != options_.place.rank && !sign.left && !silent) return false;
    }
    return true;
  };
  for (const Moment until = Clock::now() + limit; Clock::now() < until;) {
    talk_->read_signs();
    if (all_gone()) return;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

// The others read the verdict within a beat, which is longer with many ranks.
milliseconds Watch::host_stays() const { return std::max(host_stays_at_least, 2 * options_.limits.beat); }

int Watch::exit_code(const Verdict& verdict) const {
  return options_.supervised ? ended_by_verdict : verdict.exit_code;
}

// Whether this rank speaks in the place of a rank 0 that can't: the first to ask, or, where the store can't be asked,
// one on each machine: the first that is not rank 0.
bool Watch::stands_in(const Verdict& verdict, bool alone) {
  const Place& place = options_.place;
  if (place.rank == 0) return false;
  if (!alone) {
    if (verdict.rank != 0 || verdict.spoken) return false;
    const auto first = std::make_shared<bool>(false);
    if (answered([talk = talk_, first] { *first = talk->speaks_first(); })) return *first;
  }
  const std::scoped_lock lock(known_.mutex);
  const bool beside_rank_0 = known_.observed.signs.front().host == place.host;
  return place.local_rank == 0 || (place.local_rank == 1 && beside_rank_0);
}

void Watch::end(const Verdict& verdict, bool alone) {
  {
    const std::scoped_lock lock(known_.mutex);
    known_.leaving = true;
  }
  known_.changed.notify_all();
  options_.speak(verdict, stands_in(verdict, alone));
  try {
    if (!alone) answered([talk = talk_] { talk->write_sign(true); });
    if (options_.hosts_store) wait_for_others(host_stays());
  } catch (const std::exception&) {
    // Nobody is left to read it.
  }
  ::_exit(exit_code(verdict));
}

}  // namespace rrhf::distributed
