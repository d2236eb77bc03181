#include "rrhf/objective/objective.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "rrhf/core/error.h"

namespace rrhf::objective {
namespace {

RankingCounts count_pairs(std::span<const double> scores_K, std::span<const double> rewards_K) {
  RankingCounts counts;
  for (std::size_t worse = 0; worse < scores_K.size(); ++worse) {
    for (std::size_t better = 0; better < scores_K.size(); ++better) {
      if (!(rewards_K[worse] < rewards_K[better])) continue;
      ++counts.pairs;
      counts.ordered += scores_K[better] > scores_K[worse] ? 1 : 0;
      counts.margin += scores_K[better] - scores_K[worse];
    }
  }
  return counts;
}

}  // namespace

RankingCounts& RankingCounts::operator+=(const RankingCounts& other) {
  pairs += other.pairs;
  ordered += other.ordered;
  margin += other.margin;
  return *this;
}

Objective::Objective(ObjectiveOptions options)
    : options_(std::move(options)), rank_loss_(make_rank_loss(options_.rank_loss)) {}

double Objective::score_length(const ScoredQuery& query, std::size_t response) const {
  switch (options_.normalization) {
    case Normalization::response:
      return std::pow(static_cast<double>(query.label_counts_K[response]), options_.length_penalty);
    case Normalization::padded:
      return std::pow(static_cast<double>(query.padded_length), options_.length_penalty);
    case Normalization::none:
      break;
  }
  return 1;
}

double Objective::sft_length(const ScoredQuery& query, std::size_t best) const {
  switch (options_.sft_reduction) {
    case SftReduction::mean:
      return static_cast<double>(query.label_counts_K[best]);
    case SftReduction::padded:
      return static_cast<double>(query.padded_length);
    case SftReduction::sum:
      break;
  }
  return 1;
}

QueryLoss Objective::evaluate(const ScoredQuery& query) const {
  const std::size_t k = query.logprobs_K.size();
  if (k == 0 || query.label_counts_K.size() != k || query.rewards_K.size() != k) {
    throw_error("objective", "{} log-probs, {} label counts and {} rewards: all three need one per response", k,
                query.label_counts_K.size(), query.rewards_K.size());
  }
  QueryLoss result;
  result.scores_K.resize(k);
  result.coefficients_K.assign(k, 0.0);
  for (std::size_t i = 0; i < k; ++i) result.scores_K[i] = query.logprobs_K[i] / score_length(query, i);
  result.ranking = count_pairs(result.scores_K, query.rewards_K);
  if (rank_loss_ != nullptr) {
    result.rank_loss = rank_loss_->evaluate(result.scores_K, query.rewards_K, result.coefficients_K);
    for (std::size_t i = 0; i < k; ++i) result.coefficients_K[i] *= options_.rank_weight / score_length(query, i);
  }
  result.best =
      static_cast<std::size_t>(std::distance(query.rewards_K.begin(), std::ranges::max_element(query.rewards_K)));
  const double length = sft_length(query, result.best);
  result.sft_loss = -query.logprobs_K[result.best] / length;
  result.coefficients_K[result.best] -= options_.sft_weight / length;
  result.loss = options_.rank_weight * result.rank_loss + options_.sft_weight * result.sft_loss;
  return result;
}

}  // namespace rrhf::objective
