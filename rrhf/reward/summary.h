// What `rrhf score` says of the scores it gave: means, and how they agree with the scores the rows came with.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/core/json.h"
#include "rrhf/reward/row.h"

namespace rrhf::reward {

/// Sums over rows.
struct ScoreTotals {
  std::int64_t rows = 0;
  std::int64_t responses = 0;
  double sum = 0;
  double center = 0;  ///< mean so far, and the summed squared distances from it: squares of scores themselves would
  double spread = 0;  ///< lose the differences of large ones (Welford 1962)
  double least = 0;
  double most = 0;
  double best_sum = 0;        ///< of each row's highest score
  std::int64_t ties = 0;      ///< pairs of responses with equal new scores
  std::int64_t pairs = 0;     ///< pairs whose scores before were there and unequal
  std::int64_t agreeing = 0;  ///< of those, ordered the same by the new scores; a new tie orders nothing

  /// `scores` has an entry a response of the row; those that are nothing count nowhere.
  void add(const Row& row, const std::vector<std::optional<double>>& scores);

  double mean() const;
  double deviation() const;  ///< standard deviation of the scores, as of a whole population
  double mean_best() const;
  /// Pair accuracy (the paper's Table 5): NaN without a pair. Ties in the new scores count as wrong, as in
  /// rank_accuracy of rrhf/objective.
  double agreement() const;
};

struct ScoreSummary {
  ScoreTotals all;
  std::map<std::string, ScoreTotals> groups;  ///< where rows carry a group

  void add(const Row& row, const std::vector<std::optional<double>>& scores);
};
Json to_json(const ScoreSummary& summary);

}  // namespace rrhf::reward
