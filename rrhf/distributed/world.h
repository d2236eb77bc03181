// The processes that train one model together, and the collectives between them, on c10d: NCCL between GPUs, Gloo
// between CPUs. A world of one process has no group: every collective is then done at once, alone, so that a trainer
// has no branches.
#pragma once

#include <ATen/core/Tensor.h>

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/error.h"

namespace rrhf::distributed {

/// The ranks did not come together.
class PeerError : public Error {
 public:
  explicit PeerError(std::string_view message) : Error("distributed", message) {}
};

/// What the user gave to the ranks does not agree. Every rank throws it alike, so no rank is to blame.
class AgreedError : public InputError {
 public:
  explicit AgreedError(std::string_view message) : InputError("distributed", message) {}
};

/// Where a process stands among its peers.
struct Place {
  int rank = 0;  ///< from 0, over all machines
  int size = 1;
  int local_rank = 0;  ///< on this machine
  int local_size = 1;
  std::string host;
};

struct Group;   // group.h
struct Flight;  // world.cpp

/// A collective under way. Tensors given to it must live, and not be read or written, until wait() returns.
class Pending {
 public:
  Pending() = default;  ///< already done
  explicit Pending(std::shared_ptr<Flight> flight) : flight_(std::move(flight)) {}
  Pending(Pending&&) noexcept = default;
  Pending& operator=(Pending&&) noexcept = default;

  /// For CUDA tensors: later work on the current stream waits. A second call does nothing.
  void wait();

 private:
  std::shared_ptr<Flight> flight_;
};

/// Not copied. Collectives are called by one thread, by every rank, in the same order. Tensors are contiguous, of
/// float64, float32 or bfloat16 (integers too), and on the device of join().
///
/// Where a rank dies, hangs past the timeout or fails, nothing here returns or throws: a message that names the rank,
/// its host and the cause is printed and the process ends (watch.h), because a thread that is blocked in a collective
/// can't be unwound and a run that lost a rank has no state to save.
class World {
 public:
  World() = default;                                               ///< one process
  explicit World(Place place, std::shared_ptr<Group> group = {});  ///< join() in meeting.h makes it
  World(World&&) noexcept = default;
  World& operator=(World&&) noexcept = default;

  const Place& place() const noexcept { return place_; }
  int rank() const noexcept { return place_.rank; }
  int size() const noexcept { return place_.size; }

  /// The sum over all ranks, in place: the same bytes on every rank.
  Pending all_reduce(at::Tensor& tensor) const;
  /// `whole` becomes the parts of all ranks in order of rank, flat. `part` may be this rank's slice of `whole`.
  Pending all_gather(at::Tensor& whole, const at::Tensor& part) const;
  /// `part` becomes this rank's slice of the sum over all ranks of `whole`, flat. `whole` may be overwritten.
  Pending reduce_scatter(at::Tensor& part, const at::Tensor& whole) const;
  Pending broadcast(at::Tensor& tensor, int from) const;
  /// Returns when every rank has called it.
  void barrier() const;
  /// Each rank's word, in order of rank. Words may be of any length, and of any bytes.
  std::vector<std::string> gather_words(const std::string& word) const;
  /// True on every rank when it is true on one: how all stop after the same step.
  bool any(bool here) const;

  /// Compares `text` with the one of rank 0. Where a rank differs, every rank throws the same AgreedError: it names the
  /// rank, its host, `what`, and the first lines that differ. Lines like "key: value" make the best message.
  void require_same(std::string_view what, const std::string& text) const;

  /// The subgroup of the ranks that gave the same color, in order of rank (hybrid: inside a machine, across machines).
  /// Every rank calls it. Its place() counts within the subgroup; local_rank, local_size and host stay.
  World split(int color) const;

  /// Tells the others that this rank is about to leave with a failure, so that they end with its message and exit code.
  /// To be called where an exception of this rank alone ends the run. Never throws.
  void failed(const std::exception& failure) const noexcept;

 private:
  bool of_gloo() const;

  Place place_;
  std::shared_ptr<Group> group_;  // none: one process
};

}  // namespace rrhf::distributed
