// Units of which every rank of a group holds one part, made whole for use one at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <optional>
#include <vector>

#include "rrhf/distributed/unit_rooms.h"
#include "rrhf/distributed/world.h"

namespace rrhf::distributed {

/// At most two units are whole at a time: the one in use, and the next while it is on its way. In a group of one the
/// part is the unit and nothing is copied. Every rank makes the same calls in the same order.
class GatheredUnits {
 public:
  /// `parts`: this rank's part of each unit, flat; shared, not copied. `group` must outlive this.
  GatheredUnits(const World& group, std::vector<at::Tensor> parts);

  /// The whole unit, flat: valid until need() is called for another. Begins to gather `next`.
  at::Tensor need(std::size_t unit, std::optional<std::size_t> next);

  /// Forgets whole units: their parts are about to change. Waits for what is on its way.
  void drop();

 private:
  struct OnItsWay {
    std::size_t unit = 0;
    at::Tensor room;
    at::Tensor whole;  // of the room, as much as the unit takes
    Pending gather;
  };
  OnItsWay begin(std::size_t unit);
  void leave(std::optional<OnItsWay>& unit);

  const World* group_;
  std::vector<at::Tensor> parts_;
  UnitRooms rooms_;
  std::optional<OnItsWay> current_;
  std::optional<OnItsWay> next_;
};

}  // namespace rrhf::distributed
