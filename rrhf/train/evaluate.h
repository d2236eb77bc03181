// Evaluation: a whole set through the model, and what `rrhf eval` writes of it.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "rrhf/train/inputs.h"
#include "rrhf/train/pass.h"

namespace rrhf::train {

/// The whole model of a config: weights of the folder, or random ones from the seed with model.random_init.
model::Llama load_llama(const config::RunConfig& config, const ModelFolder& folder, at::Device device);

/// Runs the set with a progress bar, every rank its share. `visit`, if given, sees each query of this rank.
/// Returns nothing when a stop signal comes before the end. The same figures on every rank.
std::optional<Evaluation> evaluate(const Pass& pass, const EncodedSet& set, const QueryVisitor& visit = {});

/// Collects a line a query in file order, skipped rows included:
/// {"index","prompt_tokens","responses":[{"tokens","logprob","score"}],"rank_loss","sft_loss","loss"} or
/// {"index","skipped"}.
class PerResponseTable {
 public:
  explicit PerResponseTable(const EncodedSet& set);
  void add(const data::EncodedQuery& query, const objective::QueryLoss& loss, std::span<const double> logprobs_K);
  /// Writes the lines whole or not at all.
  void write(const std::filesystem::path& path) const;

 private:
  std::map<std::int64_t, Json> lines_;
};

}  // namespace rrhf::train
