#include <algorithm>

#include "rrhf/objective/rank_loss.h"

namespace rrhf::objective {

double RrhfRankLoss::evaluate(std::span<const double> scores_K, std::span<const double> rewards_K,
                              std::span<double> gradient_K) const {
  std::ranges::fill(gradient_K, 0.0);
  double loss = 0;
  for (std::size_t worse = 0; worse < scores_K.size(); ++worse) {
    for (std::size_t better = 0; better < scores_K.size(); ++better) {
      const bool charged = rewards_K[worse] < rewards_K[better] && scores_K[worse] > scores_K[better];
      if (!charged) continue;
      loss += scores_K[worse] - scores_K[better];
      gradient_K[worse] += 1;
      gradient_K[better] -= 1;
    }
  }
  return loss;
}

}  // namespace rrhf::objective
