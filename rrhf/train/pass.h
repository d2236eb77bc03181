// Queries through the model, pack by pack, forward and, for training, backward; each rank its share of them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/data/encode.h"
#include "rrhf/distributed/world.h"
#include "rrhf/model/llama.h"
#include "rrhf/objective/objective.h"
#include "rrhf/train/step_work.h"
#include "rrhf/train/totals.h"

namespace rrhf::train {

/// Sees each query this rank computes once, in no particular order: its loss and the summed log-prob of each response.
using QueryVisitor =
    std::function<void(const data::EncodedQuery&, const objective::QueryLoss&, std::span<const double> logprobs_K)>;

/// The pack size for `train.tokens_per_pack: auto`: tall enough for fast products, small enough for little memory.
inline constexpr std::int64_t automatic_tokens_per_pack = 1024;

struct PassOptions {
  std::int64_t tokens_per_pack = automatic_tokens_per_pack;
  Recompute recompute = Recompute::none;
};

/// Those of a config.
PassOptions pass_options(const config::RunConfig& config);

/// Runs queries in packs of at most `tokens_per_pack` tokens. The results do not depend on packs and ranks but for
/// rounding. Every rank makes the same calls with the same queries; a rank with fewer packs than another still asks for
/// the model's units as often, since gathering them takes all ranks.
class Pass {
 public:
  /// Keeps references to the first three.
  Pass(const model::Llama& llama, const objective::Objective& objective, const distributed::World& world,
       PassOptions options)
      : llama_(&llama), objective_(&objective), world_(&world), options_(options) {}

  /// The figures of each query, no gradients. Nothing when a stop signal came to some rank before the end.
  /// `progress` is told the share that is done.
  std::optional<std::vector<Totals>> evaluate(std::span<const data::EncodedQuery* const> queries,
                                              const QueryVisitor& visit,
                                              const std::function<void(double)>& progress) const;

  /// One step: adds to `gradients` those of the MEAN of the queries' losses, and returns the figures of each query.
  /// What it took is added to `work`, whose watch is running.
  std::vector<Totals> accumulate_gradients(std::span<const data::EncodedQuery* const> queries,
                                           model::Gradients& gradients, StepWork& work) const;

 private:
  using Positions = std::vector<std::size_t>;  // of queries in a step

  struct Step {
    std::span<const data::EncodedQuery* const> queries;
    std::vector<Positions> packs;  // of this rank
    std::size_t passes = 0;        // of the rank with the most packs
    std::vector<Totals> by_query;
  };
  Step plan(std::span<const data::EncodedQuery* const> queries) const;

  // The losses' coefficients over the responses of a pack, each query seen by `visit`.
  std::vector<double> coefficients(Step& step, const Positions& members, std::span<const double> logprobs,
                                   const QueryVisitor& visit) const;
  void train_on_pack(Step& step, const Positions& members, model::Gradients& gradients, StepWork& work) const;

  const model::Llama* llama_;
  const objective::Objective* objective_;
  const distributed::World* world_;
  PassOptions options_;
};

}  // namespace rrhf::train
