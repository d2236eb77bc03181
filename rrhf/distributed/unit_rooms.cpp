#include "rrhf/distributed/unit_rooms.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace rrhf::distributed {

at::Tensor UnitRooms::take() {
  if (free_.empty()) return at::empty({size_}, options_);
  at::Tensor room = std::move(free_.back());
  free_.pop_back();
  return room;
}

std::int64_t largest(const std::vector<at::Tensor>& parts) {
  std::int64_t most = 0;
  for (const at::Tensor& part : parts) most = std::max(most, part.numel());
  return most;
}

}  // namespace rrhf::distributed
