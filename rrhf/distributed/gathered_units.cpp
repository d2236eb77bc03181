#include "rrhf/distributed/gathered_units.h"

#include <ATen/ATen.h>

#include <utility>

namespace rrhf::distributed {

GatheredUnits::GatheredUnits(const World& group, std::vector<at::Tensor> parts)
    : group_(&group), parts_(std::move(parts)), rooms_(largest(parts_) * group.size(), parts_.front().options()) {}

GatheredUnits::OnItsWay GatheredUnits::begin(std::size_t unit) {
  const at::Tensor& part = parts_[unit];
  OnItsWay begun{.unit = unit, .room = rooms_.take(), .whole = {}, .gather = {}};
  begun.whole = begun.room.narrow(0, 0, part.numel() * group_->size());
  begun.gather = group_->all_gather(begun.whole, part);
  return begun;
}

void GatheredUnits::leave(std::optional<OnItsWay>& unit) {
  if (!unit) return;
  unit->gather.wait();
  rooms_.give_back(std::move(unit->room));
  unit.reset();
}

at::Tensor GatheredUnits::need(std::size_t unit, std::optional<std::size_t> next) {
  if (group_->size() == 1) return parts_[unit];
  if (!current_ || current_->unit != unit) {
    leave(current_);
    if (next_ && next_->unit != unit) leave(next_);
    current_ = next_ ? std::exchange(next_, std::nullopt) : std::optional(begin(unit));
    current_->gather.wait();
  }
  if (next && !next_) next_ = begin(*next);
  return current_->whole;
}

void GatheredUnits::drop() {
  leave(next_);
  leave(current_);
}

}  // namespace rrhf::distributed
