#include "rrhf/distributed/gathered_units.h"

#include <ATen/ATen.h>

#include <utility>

namespace rrhf::distributed {

GatheredUnits::OnItsWay GatheredUnits::begin(std::size_t unit) const {
  const at::Tensor& part = parts_[unit];
  OnItsWay begun{.unit = unit, .whole = at::empty({part.numel() * group_->size()}, part.options()), .gather = {}};
  begun.gather = group_->all_gather(begun.whole, part);
  return begun;
}

at::Tensor GatheredUnits::need(std::size_t unit, std::optional<std::size_t> next) {
  if (group_->size() == 1) return parts_[unit];
  if (!current_ || current_->unit != unit) {
    current_.reset();
    if (next_ && next_->unit != unit) next_->gather.wait();
    current_ = next_ && next_->unit == unit ? std::exchange(next_, std::nullopt) : std::optional(begin(unit));
    next_.reset();
    current_->gather.wait();
  }
  if (next && !next_) next_ = begin(*next);
  return current_->whole;
}

void GatheredUnits::drop() {
  if (next_) next_->gather.wait();
  next_.reset();
  current_.reset();
}

}  // namespace rrhf::distributed
