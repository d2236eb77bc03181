#include "rrhf/distributed/gathered_in_turn.h"

#include <ATen/ATen.h>

namespace rrhf::distributed {

at::Tensor GatheredInTurn::whole(const at::Tensor& part) {
  if (group_->size() == 1) return part;
  if (!room_.defined() || room_.scalar_type() != part.scalar_type()) {
    room_.reset();
    room_ = at::empty({largest_ * group_->size()}, part.options());
  }
  at::Tensor gathered = room_.narrow(0, 0, part.numel() * group_->size());
  group_->all_gather(gathered, part).wait();
  return gathered;
}

}  // namespace rrhf::distributed
