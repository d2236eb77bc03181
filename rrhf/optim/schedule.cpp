#include "rrhf/optim/schedule.h"

#include <cmath>
#include <numbers>

namespace rrhf::optim {

Schedule::Schedule(ScheduleName name, double warmup_ratio, std::int64_t steps)
    : name_(name),
      warmup_(static_cast<std::int64_t>(std::ceil(warmup_ratio * static_cast<double>(steps)))),
      steps_(steps) {}

double Schedule::factor(std::int64_t k) const {
  if (k < warmup_) return static_cast<double>(k) / static_cast<double>(warmup_);
  if (name_ == ScheduleName::constant || steps_ == warmup_) return 1;
  const double share = static_cast<double>(k - warmup_) / static_cast<double>(steps_ - warmup_);
  return name_ == ScheduleName::linear ? 1 - share : 0.5 * (1 + std::cos(std::numbers::pi * share));
}

}  // namespace rrhf::optim
