// What ranks tell one another through the meeting point's store: signs of life, and the verdict that ends the run.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "rrhf/distributed/judge.h"

namespace rrhf::distributed {

/// What the threads of one rank know in common. `mutex` guards all of it.
struct Known {
  std::mutex mutex;
  std::condition_variable changed;
  Observed observed;
  std::optional<Verdict> proposal;  ///< this rank's, for the store
  std::optional<Verdict> verdict;   ///< the store's
  std::string store_failure;        ///< what ended the talk, where the store did
  bool leaving = false;             ///< the talk is to end
  bool talked_out = false;          ///< it has ended
};

/// A call may take for ever: the store's host may be frozen, or the link to it cut. So nobody waits for the thread of
/// talk() without a limit, and that thread shares this object's ownership.
class StoreTalk {
 public:
  /// `store` is for this object alone; `store_name` says in messages what holds it.
  StoreTalk(Place place, Limits limits, std::string store_name, c10::intrusive_ptr<c10d::Store> store);

  /// Writes the first sign of life and waits for everybody else's. Throws PeerError that names the ranks that did not
  /// come within the timeout.
  void meet();

  /// Each beat, until known().leaving: writes a sign, reads the others' and the verdict, and proposes one where there
  /// is a proposal. Ends with known().store_failure where the store fails.
  void talk();

  void write_sign(bool left);
  void read_signs();

  /// True for the first rank that asks.
  bool speaks_first();

  Known& known() noexcept { return known_; }

 private:
  void talk_once();
  std::string missing_ranks() const;

  const Place place_;
  const Limits limits_;
  const c10::intrusive_ptr<c10d::Store> store_;
  std::vector<std::string> sign_keys_, last_signs_;
  std::atomic<std::int64_t> beats_ = 0;
  Known known_;
};

}  // namespace rrhf::distributed
