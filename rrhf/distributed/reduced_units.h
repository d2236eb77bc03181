// Gradients of units, summed over ranks while the backward pass goes on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "rrhf/distributed/unit_rooms.h"
#include "rrhf/distributed/world.h"

namespace rrhf::distributed {

/// Every rank of `shards` keeps the sum of its part of each unit; the ranks of `copies` keep the same parts.
///
/// A step is some backward passes. In each a unit is asked for, added to, and done. With several shards its sum over
/// them goes into the parts at once, since no rank has room for all units. The sum over copies is taken in the last
/// pass alone. Sums are on their way while later units are computed. Every rank makes the same calls in the same order.
class ReducedUnits {
 public:
  /// `parts`: what sums are added to, flat; shared, not copied. Both groups must outlive this.
  ReducedUnits(const World& shards, const World& copies, std::vector<at::Tensor> parts);

  /// The flat buffer of the unit to add to, until done(). In a group of one shard it is the part, else zeros at first.
  at::Tensor need(std::size_t unit);

  /// Begins the sum of the unit.
  void done(std::size_t unit);

  /// The next pass is the step's last.
  void begin_last_pass() { last_pass_ = true; }

  /// Waits until every sum of the step is in the parts.
  void finish();

 private:
  at::Tensor whole_of(std::size_t unit, const at::Tensor& room) const;

  struct Scatter {
    std::size_t unit = 0;
    at::Tensor room, whole;
    bool of_last_pass = false;
    Pending pending;
  };
  void finish_scatter();
  void sum_over_copies(std::size_t unit);

  const World* shards_;
  const World* copies_;
  std::vector<at::Tensor> parts_;
  UnitRooms rooms_;
  at::Tensor received_;             ///< room for a part of a sum
  std::vector<at::Tensor> open_;    ///< rooms of units being added to
  std::optional<Scatter> scatter_;  ///< one at a time
  std::vector<Pending> copy_sums_;
  bool last_pass_ = false;
};

}  // namespace rrhf::distributed
