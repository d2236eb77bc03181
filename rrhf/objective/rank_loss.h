// Ranking losses over the scores of one query's responses.
//
// A loss sees the scores p_K (length-normalized log-probs) and the rewards r_K, and says its value and the gradient
// with respect to each score. To add one: write its class in a file of its own here and name it in rank_loss.cpp's
// table.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::objective {

/// A ranking loss. Stateless: const calls are safe from several threads.
class RankLoss {
 public:
  virtual ~RankLoss() = default;

  /// The loss of one query, a sum over its pairs. `gradient_K` is overwritten with d loss / d scores_K.
  /// All three spans have one element per response; rewards are finite. Equal rewards give no pair.
  virtual double evaluate(std::span<const double> scores_K, std::span<const double> rewards_K,
                          std::span<double> gradient_K) const = 0;
};

/// RRHF (Yuan et al. 2023, eq. 3): every pair that the model orders against its rewards is charged its difference,
///     L_rank = sum over i, j with r_i < r_j of max(0, p_i - p_j).
/// Nothing is averaged: a query with more pairs weighs more, as in the paper. The subgradient at p_i = p_j is 0, as in
/// the released code.
class RrhfRankLoss final : public RankLoss {
 public:
  double evaluate(std::span<const double> scores_K, std::span<const double> rewards_K,
                  std::span<double> gradient_K) const override;
};

/// The words objective.rank_loss may be, "none" among them.
std::vector<std::string> rank_loss_names();

/// The loss of that name; null for "none". Throws InputError for any other word.
std::unique_ptr<const RankLoss> make_rank_loss(std::string_view name);

}  // namespace rrhf::objective
