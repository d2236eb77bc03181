// Queries through the model, pack by pack, forward and, for training, backward.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "rrhf/data/encode.h"
#include "rrhf/model/llama.h"
#include "rrhf/objective/objective.h"
#include "rrhf/train/step_work.h"
#include "rrhf/train/totals.h"

namespace rrhf::train {

/// Sees each query once, in no particular order: its loss and the summed log-prob of each response.
using QueryVisitor =
    std::function<void(const data::EncodedQuery&, const objective::QueryLoss&, std::span<const double> logprobs_K)>;

/// Runs queries in packs of at most `tokens_per_pack` tokens. The results do not depend on the packs but for rounding.
class Pass {
 public:
  /// Keeps references to both.
  Pass(const model::Llama& llama, const objective::Objective& objective, std::int64_t tokens_per_pack)
      : llama_(&llama), objective_(&objective), tokens_per_pack_(tokens_per_pack) {}

  /// Losses of the queries, no gradients. False when a stop signal came before the end.
  bool evaluate(std::span<const data::EncodedQuery* const> queries, const QueryVisitor& visit) const;

  /// One step: adds to `gradients` those of the MEAN of the queries' losses, and returns the losses' sums.
  /// What it took is added to `work`, whose watch is running.
  Totals accumulate_gradients(std::span<const data::EncodedQuery* const> queries, model::Weights& gradients,
                              StepWork& work) const;

 private:
  using Queries = std::vector<const data::EncodedQuery*>;

  // The losses' coefficients over the responses of a pack, each query seen by `visit`.
  std::vector<double> coefficients(const Queries& members, std::span<const double> logprobs,
                                   std::size_t queries_in_step, const QueryVisitor& visit) const;

  void train_on_pack(const Queries& members, std::size_t queries_in_step, model::Weights& gradients,
                     const QueryVisitor& visit, StepWork& work) const;

  const model::Llama* llama_;
  const objective::Objective* objective_;
  std::int64_t tokens_per_pack_;
};

/// The pack size for `train.tokens_per_pack: auto`: tall enough for fast products, small enough for little memory.
inline constexpr std::int64_t automatic_tokens_per_pack = 1024;

}  // namespace rrhf::train
