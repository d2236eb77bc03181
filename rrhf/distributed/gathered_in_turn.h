// Parts that are made whole one after the other, each for as long as it is the last.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "rrhf/distributed/world.h"

namespace rrhf::distributed {

/// For what is asked for now and then, such as the tensors of a checkpoint: all pass through one room. In a group of
/// one the part is the whole and nothing is copied. Every rank makes the same calls in the same order.
class GatheredInTurn {
 public:
  /// `largest`: elements of the largest part. `group` must outlive this.
  GatheredInTurn(const World& group, std::int64_t largest) : group_(&group), largest_(largest) {}

  /// The ranks' parts one behind the other, flat: valid until the next call.
  at::Tensor whole(const at::Tensor& part);

 private:
  const World* group_;
  std::int64_t largest_;
  at::Tensor room_;
};

}  // namespace rrhf::distributed
