// Sums over queries, from which every reported figure follows. Sums add up over any split; means do not.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "rrhf/core/json.h"
#include "rrhf/data/encode.h"
#include "rrhf/distributed/world.h"
#include "rrhf/objective/objective.h"

namespace rrhf::train {

struct Totals {
  std::int64_t queries = 0;
  std::int64_t tokens = 0;  ///< packed: prompt once, responses without padding
  double loss = 0;
  double rank_loss = 0;
  double sft_loss = 0;
  objective::RankingCounts ranking;
  double best_logprob = 0;  ///< of the best responses
  std::int64_t best_labels = 0;

  Totals() = default;
  /// Of one query.
  Totals(const data::EncodedQuery& query, const objective::QueryLoss& loss, std::span<const double> logprobs_K);
  Totals& operator+=(const Totals& other);

  double mean(double sum) const { return queries == 0 ? 0 : sum / static_cast<double>(queries); }
  /// Share of unequal pairs ordered right; null in JSON when there is no pair.
  double rank_accuracy() const;
  double margin() const;
  /// exp of the mean negative log-prob a token of the best responses.
  double perplexity() const;
};

/// The sum in order: the same bytes however the queries were spread over packs of equal results.
Totals sum_of(std::span<const Totals> by_query);

/// `by_query` has an entry a query, of which each rank has filled in its own and left the others empty. Fills in all.
void exchange(std::span<Totals> by_query, const distributed::World& world, at::Device device);

/// loss, rank_loss, sft_loss, rank_accuracy, margin as means; null where there is nothing to average.
Json loss_fields(const Totals& totals);

/// Figures of an evaluation: the loss fields, perplexity, queries, and the same by group where rows carry one.
struct Evaluation {
  Totals all;
  std::map<std::string, Totals> groups;
};
Json to_json(const Evaluation& evaluation);

}  // namespace rrhf::train
