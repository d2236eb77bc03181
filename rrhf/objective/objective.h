// The training objective of one query: loss = rank_weight * rank_loss + sft_weight * sft_loss.
//
// It depends on the model only through s_i, the summed log-prob of each response (docs/losses.md):
//     score  p_i = s_i / length_i ^ length_penalty          length_i: the response's labels, the padded length, or 1
//     L_sft     = -s_best / (labels of best | 1 | padded length)
// so the model's backward pass needs one number per response, d loss / d s_i: the coefficient.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/objective/rank_loss.h"

namespace rrhf::objective {

struct ObjectiveOptions {
  std::string rank_loss = "rrhf";
  double rank_weight = 1;
  double sft_weight = 1;
  Normalization normalization = Normalization::response;
  double length_penalty = 1;
  SftReduction sft_reduction = SftReduction::mean;
};

/// What the model says of one query. Index i is the same response in the three spans; none is empty.
struct ScoredQuery {
  std::span<const double> logprobs_K;            ///< summed over each response's labels
  std::span<const std::int64_t> label_counts_K;  ///< at least 1 each
  std::span<const double> rewards_K;             ///< finite, larger is better
  std::int64_t padded_length = 0;                ///< longest prompt + response of the row
};

/// How the scores order the pairs of unequal reward.
struct RankingCounts {
  std::int64_t pairs = 0;
  std::int64_t ordered = 0;  ///< the better response has the strictly higher score
  double margin = 0;         ///< sum over the pairs of (score of the better - score of the worse)

  RankingCounts& operator+=(const RankingCounts& other);
};

struct QueryLoss {
  double loss = 0;
  double rank_loss = 0;  ///< unweighted
  double sft_loss = 0;   ///< unweighted
  std::vector<double> scores_K;
  std::vector<double> coefficients_K;  ///< d loss / d logprobs_K
  RankingCounts ranking;
  std::size_t best = 0;  ///< the first of the highest reward
};

/// Computes losses. Immutable: const calls are safe from several threads.
class Objective {
 public:
  /// Throws InputError for a rank loss that is not known.
  explicit Objective(ObjectiveOptions options);

  /// Throws Error when the spans differ in length or are empty.
  QueryLoss evaluate(const ScoredQuery& query) const;

 private:
  double score_length(const ScoredQuery& query, std::size_t response) const;
  double sft_length(const ScoredQuery& query, std::size_t best) const;

  ObjectiveOptions options_;
  std::unique_ptr<const RankLoss> rank_loss_;
};

}  // namespace rrhf::objective
