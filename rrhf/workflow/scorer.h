// What gives rows their scores: a reward model, or a model's own log-probs. Both are slow, so their work can be gone on
// with.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/core/json.h"
#include "rrhf/reward/row.h"

namespace rrhf::workflow {

class Scorer {
 public:
  virtual ~Scorer() = default;

  /// What decides the scores: the model's files and the settings. Scores of one identity may stand together.
  virtual Json identity() const = 0;

  /// The scores of the rows, in order; nothing when a stop signal came before the end.
  virtual std::optional<std::vector<reward::RowScore>> score(std::span<const reward::Row> rows) = 0;

  /// Logs what a person should know of the rows scored: how many were cut.
  virtual void report() const {}
};

/// A LlamaForSequenceClassification folder, read as `config.score` says. Loads the weights.
/// Throws InputError for anything wrong with the folder, or with the settings for it.
std::unique_ptr<Scorer> make_reward_scorer(const std::filesystem::path& folder, const config::RunConfig& config);

/// The scores p_i of config.model.path (docs/losses.md): encoded as `config.data` says, divided as
/// config.objective.normalization and .length_penalty say. All responses are scored whatever data.responses is.
/// Throws InputError as train::open_model_folder() does.
std::unique_ptr<Scorer> make_logprob_scorer(const config::RunConfig& config);

/// Adds an entry for each file of a model folder, with its size and time: they tell whether the folder still holds the
/// model it held.
void add_model_files(const std::filesystem::path& folder, Json& identity);

}  // namespace rrhf::workflow
