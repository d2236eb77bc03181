// Which queries each step of a run takes, and in which order.
#pragma once

#include <cstdint>

#include "rrhf/config/run_config.h"
#include "rrhf/data/step_plan.h"

namespace rrhf::train {

/// The steps of a run over `usable` queries, with train.order's permutations.
data::StepPlan plan_steps(const config::RunConfig& config, std::int64_t usable);

}  // namespace rrhf::train
