#include "rrhf/distributed/reduced_units.h"

#include <ATen/ATen.h>

namespace rrhf::distributed {

ReducedUnits::ReducedUnits(const World& shards, const World& copies, std::vector<at::Tensor> parts)
    : shards_(&shards), copies_(&copies), parts_(std::move(parts)), open_(parts_.size()) {}

at::Tensor ReducedUnits::need(std::size_t unit) {
  if (shards_->size() == 1) return parts_[unit];
  at::Tensor& whole = open_[unit];
  if (!whole.defined()) whole = at::zeros({parts_[unit].numel() * shards_->size()}, parts_[unit].options());
  return whole;
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
  scatter.whole = std::exchange(open_[unit], {});
  scatter.part = at::empty_like(parts_[unit]);
  scatter.pending = shards_->reduce_scatter(scatter.part, scatter.whole);
}

void ReducedUnits::finish_scatter() {
  if (!scatter_) return;
  scatter_->pending.wait();
  parts_[scatter_->unit].add_(scatter_->part);
  if (scatter_->of_last_pass) sum_over_copies(scatter_->unit);
  scatter_.reset();
}

void ReducedUnits::sum_over_copies(std::size_t unit) { copy_sums_.push_back(copies_->all_reduce(parts_[unit])); }

void ReducedUnits::finish() {
  finish_scatter();
  for (Pending& sum : copy_sums_) sum.wait();
  copy_sums_.clear();
  last_pass_ = false;
}

}  // namespace rrhf::distributed
