// Queries through the model, pack by pack, forward and, for training, backward; each rank its share of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/data/encode.h"
#include "rrhf/distributed/world.h"
#include "rrhf/model/llama.h"
#include "rrhf/objective/objective.h"
#include "rrhf/train/passes.h"
#include "rrhf/train/step_work.h"
#include "rrhf/train/totals.h"

namespace rrhf::train {

/// Sees each query this rank computes once, in no particular order: its loss and the summed log-prob of each response.
using QueryVisitor =
    std::function<void(const data::EncodedQuery&, const objective::QueryLoss&, std::span<const double> logprobs_K)>;

/// The pack size for `train.tokens_per_pack: auto`: tall enough for fast products, small enough for little memory.
constexpr std::int64_t automatic_tokens_per_pack(bool cpu) { return cpu ? 1024 : 4096; }

struct PassOptions {
  std::int64_t tokens_per_pack = automatic_tokens_per_pack(true);
  Recompute recompute = Recompute::none;
  Place layer_inputs = Place::device;
  bool deterministic = true;
};

/// Those of a config, on a CPU or a GPU.
PassOptions pass_options(const config::RunConfig& config, bool cpu);

/// Runs queries in packs of at most `tokens_per_pack` tokens. The results do not depend on packs and ranks but for
/// rounding. Every rank makes the same calls with the same queries; a rank with fewer packs than another still asks for
/// the model's units as often, since gathering them takes all ranks.
class Pass {
 public:
  /// Where the passes of a step come from, one a call.
  using Source = std::function<PreparedPass()>;

  /// Keeps references to the first three.
  Pass(const model::Llama& llama, const objective::Objective& objective, const distributed::World& world,
       PassOptions options);

  /// What passes for this are to be made for.
  PassPlace place() const;

  /// The figures of each query of the set, no gradients. Nothing when a stop signal came to some rank before the end.
  /// `progress` is told the share that is done. Packs are made ahead.
  std::optional<std::vector<Totals>> evaluate(const EncodedSet& set, const QueryVisitor& visit,
                                              const std::function<void(double)>& progress) const;

  /// One step, whose passes `source` gives: adds to `gradients` those of the MEAN of the queries' losses, and returns
  /// the figures of each query, in the step's order. What it took is added to `work`, whose watch is running; the part
  /// `data` is the time spent in `source`.
  std::vector<Totals> accumulate_gradients(const Source& source, model::Gradients& gradients, StepWork& work) const;

 private:
  // The losses' coefficients over the responses of a pack, each query seen by `visit`, its figures kept in `by_query`.
  std::vector<double> coefficients(const PreparedPack& pack, std::span<const double> logprobs,
                                   std::span<Totals> by_query, const QueryVisitor& visit) const;
  void train_on_pack(const PreparedPack& prepared, std::span<Totals> by_query, model::Gradients& gradients,
                     StepWork& work) const;

  const model::Llama* llama_;
  const objective::Objective* objective_;
  const distributed::World* world_;
  PassOptions options_;
  std::unique_ptr<model::ParkedInputs> parked_;  // where layers' inputs wait on the host
  std::unique_ptr<model::Arena> arena_;          // on the CPU: for what a forward pass keeps
};

}  // namespace rrhf::train
