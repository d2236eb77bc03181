// Watches over the other ranks while the main thread computes or is stuck in a collective.
//
// Every rank writes a sign of life into the meeting point's store each second: how many collectives it has begun, and
// whether it has left. Every rank reads all of them, and judges (judge.h). The first verdict in the store is
// everybody's. A thread that is blocked in a collective can't be unwound, so a verdict prints its message and ends the
// process; files are written atomically, and a checkpoint that was being written does not count.
//
// Two threads: one talks to the store, and may be stuck in it when the network is gone; the other looks at the clock.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "rrhf/distributed/judge.h"

namespace rrhf::distributed {

struct WatchOptions {
  Place place;
  Limits limits;
  bool hosts_store = false;  ///< the store ends with this process: it leaves last
  std::string store;         ///< what holds the store, for messages
  bool supervised = false;   ///< ends with ended_by_verdict
  Speaker speak;
};

class Watch {
 public:
  /// `store` is for this object alone. Writes the first sign of life and waits, as long as the timeout, for everybody
  /// else's. Throws PeerError that names the ranks that did not come.
  Watch(WatchOptions options, c10::intrusive_ptr<c10d::Store> store);

  /// Tells the others that this rank has ended its part.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// The main thread begins a collective.
  void began(const char* operation);

  /// A collective failed: waits for the verdict, which ends the process.
  [[noreturn]] void failed_in(const char* operation, const std::string& what);

  /// This rank is about to leave with a failure of its own: makes it the verdict, unless there is one.
  void accuse_self(const std::exception& failure) noexcept;

 private:
  void talk();
  void talk_once();
  void look();
  void write_sign(bool left);
  void read_signs();
  void wait_for_others(std::chrono::milliseconds limit);
  bool stands_in(const Verdict& verdict, bool alone);
  [[noreturn]] void end(const Verdict& verdict, bool alone);

  const WatchOptions options_;
  const c10::intrusive_ptr<c10d::Store> store_;
  std::vector<std::string> sign_keys_;

  std::mutex mutex_;
  std::condition_variable changed_;
  Observed observed_;
  std::vector<std::string> last_signs_;
  std::optional<Verdict> proposal_;  // ours, for the store
  std::optional<Verdict> verdict_;   // the store's
  std::string store_failure_;
  bool leaving_ = false;   // no more beats
  bool accusing_ = false;  // the main thread speaks for itself

  std::atomic<std::int64_t> beats_ = 0;
  std::thread talker_;
  std::thread looker_;
};

}  // namespace rrhf::distributed
