#include "rrhf/distributed/reduced_units.h"

#include <ATen/ATen.h>

namespace rrhf::distributed {

ReducedUnits::ReducedUnits(const World& shards, const World& copies, std::vector<at::Tensor> parts)
    : shards_(&shards),
      copies_(&copies),
      parts_(std::move(parts)),
      rooms_(largest(parts_) * shards.size(), parts_.front().options()),
      open_(parts_.size()) {
  if (shards.size() > 1) received_ = at::empty({largest(parts_)}, parts_.front().options());
}

at::Tensor ReducedUnits::whole_of(std::size_t unit, const at::Tensor& room) const {
  return room.narrow(0, 0, parts_[unit].numel() * shards_->size());
}

at::Tensor ReducedUnits::need(std::size_t unit) {
  if (shards_->size() == 1) return parts_[unit];
  at::Tensor& room = open_[unit];
  if (room.defined()) return whole_of(unit, room);
  room = rooms_.take();
  return whole_of(unit, room).zero_();
}

void ReducedUnits::done(std::size_t unit) {
  if (shards_->size() == 1) {
    if (last_pass_) sum_over_copies(unit);
    return;
  }
  finish_scatter();
  Scatter& scatter = scatter_.emplace();
  scatter.unit = unit;
  scatter.of_last_pass = last_pass_;
  scatter.room = std::exchange(open_[unit], {});
  scatter.whole = whole_of(unit, scatter.room);
  at::Tensor part = received_.narrow(0, 0, parts_[unit].numel());
  scatter.pending = shards_->reduce_scatter(part, scatter.whole);
}

void ReducedUnits::finish_scatter() {
  if (!scatter_) return;
  const std::size_t unit = scatter_->unit;
  scatter_->pending.wait();
  parts_[unit].add_(received_.narrow(0, 0, parts_[unit].numel()));
  rooms_.give_back(std::move(scatter_->room));
  if (scatter_->of_last_pass) sum_over_copies(unit);
  scatter_.reset();
}

void ReducedUnits::sum_over_copies(std::size_t unit) {
  if (parts_[unit].numel() > 0) copy_sums_.push_back(copies_->all_reduce(parts_[unit]));
}

void ReducedUnits::finish() {
  finish_scatter();
  for (Pending& sum : copy_sums_) sum.wait();
  copy_sums_.clear();
  last_pass_ = false;
}

}  // namespace rrhf::distributed
