// What a step took, held against what the machine could do.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

#include "rrhf/core/json.h"
#include "rrhf/core/part_times.h"
#include "rrhf/distributed/world.h"
#include "rrhf/model/flops.h"

namespace rrhf::train {

/// The work of one or more steps on this rank. What is computed again (train.recompute) is not counted as work.
struct StepWork {
  model::Flops forward_flops;        ///< of every packed token
  model::Flops backward_flops;       ///< of every packed token
  model::Flops backward_flops_done;  ///< the same without idle responses (model/idle_responses.h)
  std::int64_t tokens = 0;           ///< packed
  PartTimes times;

  model::Flops flops() const;
  model::Flops flops_done() const;
  StepWork& operator+=(const StepWork& other);
};

/// Operations a second of a large matrix product on this device in this dtype with the threads set: the best of a few,
/// taken in a fraction of a second. What a "share of the speed of light" is a share of.
double measure_matrix_rate(c10::Device device, c10::ScalarType dtype);

/// How the ranks fared in a step.
struct RankWork {
  std::vector<double> tokens_per_second;  ///< of each rank
  std::vector<double> peak_memory;        ///< of each rank, bytes
  double communication_share = 0;         ///< of the ranks' time, spent waiting for others
  double imbalance = 0;                   ///< how much longer than the mean the busiest rank computed: 0.1 is a tenth
};

/// Every rank calls it with its own work.
RankWork exchange_work(const StepWork& work, double seconds, const distributed::World& world, c10::Device device);

/// The fields of `timing` in metrics.jsonl: seconds, tokens_per_second, flops_per_second, speed_of_light (the share of
/// the matrix rate, idle responses counted as if they had been computed), backward_share (the share of the backward
/// pass's operations that were not idle), peak_memory in bytes, and parts in seconds, all of this rank but the tokens,
/// which are those of the step; and rank_tokens_per_second, rank_peak_memory, communication_share and imbalance over
/// the ranks.
Json timing_fields(const StepWork& work, double seconds, std::int64_t tokens, double matrix_rate,
                   std::int64_t peak_memory, const RankWork& ranks);

/// A table of the time by part, with the share of the matrix rate that the products reached; how much of it this rank
/// waited (`idle`: for its data, and for other ranks); and what the thread that prepares the data took beside it.
std::string profile_table(const StepWork& work, double matrix_rate, double prepared_seconds);

}  // namespace rrhf::train
