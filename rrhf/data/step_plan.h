// Which queries a step trains on.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "rrhf/core/choices.h"

namespace rrhf::data {

struct StepPlanOptions {
  std::int64_t epochs = 3;
  std::optional<std::int64_t> max_steps;  ///< stop there if the epochs have not ended before
  std::int64_t queries_per_step = 64;
  EpochEnd epoch_end = EpochEnd::step;
};

/// The order of the usable queries in an epoch (from 0). Every epoch's order has the same length; the released order
/// repeats a few queries, so it may be longer than the number of queries.
using EpochOrder = std::function<std::vector<std::int64_t>(std::int64_t epoch)>;

/// Cuts the epochs into steps. Any step can be asked for, so that a resumed run needs nothing but its number.
///
/// EpochEnd::step: an epoch is ceil(E / queries_per_step) steps, the last one smaller; E is the order's length.
/// EpochEnd::carry: what is left over joins the next epoch's first step; epochs * floor(E / queries_per_step) steps,
/// all of full size. An epoch too short for one step is a step of its own.
class StepPlan {
 public:
  StepPlan(StepPlanOptions options, EpochOrder order);

  std::int64_t steps() const noexcept { return steps_; }

  /// The queries of step k, 0 <= k < steps(). Keeps the last two epochs' orders; not thread-safe.
  std::vector<std::int64_t> queries(std::int64_t k);

  /// Epochs done after step k, as a fraction.
  double epochs_after(std::int64_t k) const;

 private:
  std::int64_t steps_of_an_epoch() const;  // of EpochEnd::step
  const std::vector<std::int64_t>& order(std::int64_t epoch);

  StepPlanOptions options_;
  EpochOrder make_order_;
  std::int64_t epoch_length_ = 0;
  std::int64_t steps_ = 0;
  std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>> orders_;
};

/// `order` followed by its own start, to a multiple of `multiple`: how a sampler over that many ranks evens them out.
std::vector<std::int64_t> padded_to_multiple(std::vector<std::int64_t> order, std::int64_t multiple);

}  // namespace rrhf::data
