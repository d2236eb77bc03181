// Watches over the other ranks while the main thread computes or is stuck in a collective.
//
// Every rank writes a sign of life into the meeting point's store each second: how many collectives it has begun, and
// whether it has left. Every rank reads all of them, and judges (judge.h). The first verdict in the store is
// everybody's. A thread that is blocked in a collective can't be unwound, so a verdict prints its message and ends the
// process; files are written atomically, and a checkpoint that was being written does not count.
//
// Two threads: one talks to the store (store_talk.h), and may be stuck in it when the network is gone; the other looks
// at the clock.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "rrhf/distributed/store_talk.h"

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

  /// Tells the others that this rank has ended its part: within seconds, or not at all where the store does not answer.
  /// The rank that holds the store waits until the others have left, as long as the timeout.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// The main thread begins a collective.
  void began(const char* operation);

  /// The main thread waits for a collective to end; it has ended.
  void waits();
  void went_on();

  /// A collective failed: waits for the verdict, which ends the process.
  [[noreturn]] void failed_in(const char* operation, const std::string& what);

  /// This rank is about to leave with a failure of its own: makes it the verdict, unless there is one. Should the rank
  /// not have left when the timeout is over, because something hangs on the way out, it is ended.
  void accuse_self(const std::exception& failure) noexcept;

 private:
  void look();
  void wait_for_others(std::chrono::milliseconds limit);
  bool stands_in(const Verdict& verdict, bool alone);
  [[noreturn]] void end(const Verdict& verdict, bool alone);
  std::chrono::milliseconds host_stays() const;
  int exit_code(const Verdict& verdict) const;

  const WatchOptions options_;
  const std::shared_ptr<StoreTalk> talk_;  // outlives this while a call does not return
  Known& known_;
  bool accusing_ = false;  // the main thread speaks for itself; guarded as what is known
  std::thread looker_;
};

}  // namespace rrhf::distributed
