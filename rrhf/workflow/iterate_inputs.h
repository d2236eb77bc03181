// What an iterated run begins from: checked as a whole before the first round, and written down.
#pragma once

#include <filesystem>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/data/open_rows.h"
#include "rrhf/workflow/answerer.h"

namespace rrhf::workflow {

/// How the model of a folder samples under config.sample, config.data.template and config.model.dtype.
AnswerSettings sampling_settings(const config::RunConfig& config, const std::filesystem::path& model);

/// The rows of an iterated run.
struct IterateRows {
  std::vector<data::OpenRow> queries;   ///< with the responses that iterate.keep keeps
  std::vector<data::OpenRow> held_out;  ///< without responses; may be empty
  std::vector<data::OpenRow> eval;      ///< of data.eval, where copies_eval_rows() says so
};

/// Whether data.eval stands in another layout than the run's own files: its rounds then train beside a copy of it.
bool copies_eval_rows(const config::RunConfig& config);

/// Reads all that a run begins from but weights. Throws InputError: all mistakes of the settings together; for broken
/// files; for prompts that leave no place for an answer; for a model folder, rule file or reward model that can't be
/// used; where a query's responses can make no pair.
IterateRows read_iterate_rows(const config::RunConfig& config);

/// Writes inputs.json, queries.jsonl, held-out.jsonl and eval.jsonl into `output`, those that are missing. Throws
/// InputError where inputs.json says that the run began from other files than there are now, naming them.
void write_iterate_rows(const IterateRows& rows, const config::RunConfig& config, const std::filesystem::path& output);

}  // namespace rrhf::workflow
