// Learning rate schedules.
#pragma once

#include <cstdint>

#include "rrhf/core/choices.h"

namespace rrhf::optim {

/// With S steps and w = ceil(warmup_ratio * S): step k (from 0) has the factor k/w while k < w, then
/// 0.5 (1 + cos(pi (k-w)/(S-w))) for cosine, (S-k)/(S-w) for linear, 1 for constant.
class Schedule {
 public:
  Schedule(ScheduleName name, double warmup_ratio, std::int64_t steps);

  /// What the learning rate is multiplied with at step k, 0 <= k < steps.
  double factor(std::int64_t k) const;

 private:
  ScheduleName name_;
  std::int64_t warmup_;
  std::int64_t steps_;
};

}  // namespace rrhf::optim
