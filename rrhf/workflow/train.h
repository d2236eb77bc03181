// `rrhf train` and `rrhf eval` behind their command lines.
#pragma once

#include <filesystem>
#include <string>

#include "rrhf/config/run_config.h"
#include "rrhf/distributed/world.h"
#include "rrhf/train/totals.h"
#include "rrhf/train/trainer.h"

namespace rrhf::workflow {

/// Trains a run to its end, or what is left of it with options.resume, and writes its report.html. Every rank of the
/// world makes the call. Returns where the time of the steps went (Trainer::profile()). Throws as train::Trainer does:
/// Interrupted, after saving, when a stop signal comes (it listens for them itself), Error with advice when a GPU's
/// memory runs out.
std::string train_model(const config::RunConfig& config, const train::RunOptions& options,
                        const distributed::World& world);

/// Makes report.html of what the folder of a run holds, and logs where it is and what training changed.
void write_report(const std::filesystem::path& run_folder);

/// The figures of config.model.path on data.eval, or on what data.eval_fraction holds out of data.train. With a path
/// for `per_response` a line a query goes there (train::PerResponseTable), whole or not at all.
/// Throws InputError for anything wrong with data and model, Error for a model whose log-probs are not finite,
/// Interrupted when a stop signal comes (it listens for them itself).
train::Evaluation evaluate_model(const config::RunConfig& config, const std::filesystem::path& per_response = {});

}  // namespace rrhf::workflow
