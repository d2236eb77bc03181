// `rrhf ablate`: the runs of a grid, each trained, all models measured by one measure and laid side by side.
//
// OUTPUT/grid.json       the grid, whole: a grid file itself
//        NAME/           a run's folder (train/run_folder.h); with seeds there is NAME/seed-N/ for each
//        NAME/measured/  its model's figures (measurement.h)
//        start/          the figures of the models that runs began from
//        sources.json    what models were made of: hashes of these and of the data, templates
//        .../failure.txt why the last try at a model failed; .../log.txt what it said, with several at a time
//        results.jsonl   figures, a line a model; report.html
//
// Trainings and measurements are commands of this program in processes of their own (child_commands.h). Each is done
// when its product is there, and products appear whole: an ablation that was stopped or killed anywhere goes on at what
// is missing.
#pragma once

#include <string>
#include <vector>

#include "rrhf/config/grid.h"

namespace rrhf::workflow {

struct AblateOptions {
  bool resume = false;
  std::size_t at_once = 1;               ///< runs
  std::vector<std::string> train_flags;  ///< for every training: "--processes", "2"
};

struct Ablated {
  std::string table;                ///< for a terminal
  std::vector<std::string> failed;  ///< runs that failed, each with its cause; the others are there
  bool refused = false;             ///< one of them because its command found its input wrong
};

/// Does what is not done. Throws InputError, before anything is run, for an output folder that holds something else or
/// is not to be resumed, for runs in it that have other settings, for models and data that can't be used or are others
/// than the models in it were made of; Interrupted when a stop signal comes. What is finished is kept.
Ablated ablate(const config::Grid& grid, const AblateOptions& options);

/// "rank_weight=1/seed-2" a line, each run with what it sets on top of the config, in the order they are run.
std::string list_runs(const config::Grid& grid);

}  // namespace rrhf::workflow
