// `rrhf score`: rows in, the same rows with new scores out.
#pragma once

#include <filesystem>

#include "rrhf/config/run_config.h"
#include "rrhf/reward/summary.h"

namespace rrhf::workflow {

struct ScoreTask {
  enum class Source { reward_model, rule, merge, model };
  Source source = Source::rule;
  std::filesystem::path from;  ///< the reward model, rule file or file of scores; for `model` see config.model.path
  std::filesystem::path data;
  std::filesystem::path out;        ///< empty: nothing is written, only the summary made
  std::filesystem::path tokenizer;  ///< folder, for rules that count tokens; may be empty
  bool allow_missing = false;       ///< merge: leave out responses without a score
  bool force = false;               ///< overwrite `out`
  bool restart = false;             ///< drop what an earlier run had finished
};

/// Scores the rows and writes them to `task.out`, whole or not at all. With a model, finished rows are kept in
/// `OUT.part` until then and a second call goes on after them.
/// Throws InputError for anything wrong with data, source or settings, before a model's weights are read where that can
/// be; Interrupted when a stop signal comes.
reward::ScoreSummary score(const ScoreTask& task, const config::RunConfig& config);

}  // namespace rrhf::workflow
