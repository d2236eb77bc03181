// What a step took, held against what the machine could do.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <string>

#include "rrhf/core/json.h"
#include "rrhf/core/part_times.h"
#include "rrhf/model/flops.h"

namespace rrhf::train {

/// The work of one or more steps.
struct StepWork {
  model::Flops flops;       ///< of every packed token, forward and backward
  model::Flops flops_done;  ///< the same without the backward pass of idle responses (model/idle_responses.h)
  PartTimes times;

  StepWork& operator+=(const StepWork& other);
};

/// Operations a second of a large matrix product on this device in this dtype with the threads set: the best of a few,
/// taken in a fraction of a second. What a "share of the speed of light" is a share of.
double measure_matrix_rate(c10::Device device, c10::ScalarType dtype);

/// The fields of `timing` in metrics.jsonl: seconds, tokens_per_second, flops_per_second, speed_of_light (the share of
/// the matrix rate, idle responses counted as if they had been computed), backward_share (the share of the backward
/// pass's operations that were not idle), peak_memory in bytes, and parts in seconds.
Json timing_fields(const StepWork& work, double seconds, std::int64_t tokens, double matrix_rate);

/// A table of the time by part, with the share of the matrix rate that the products reached.
std::string profile_table(const StepWork& work, double matrix_rate);

}  // namespace rrhf::train
