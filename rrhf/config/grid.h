// A grid of runs that differ in some settings: what `rrhf ablate` reads.
//
//     {
//       "config": "my-run.json",                                // or {settings}; "preset": "NAME" instead
//       "set": {"train.epochs": 1},                             // for all runs
//       "vary": {"objective.rank_weight": [0, 1, 10]},          // a run for every combination of these
//       "runs": {"sft": {"objective.rank_loss": "none"}},       // and these; {} is the config as it is
//       "seeds": [1, 2, 3],                                     // each run once with each train.seed
//       "measure": {"objective.normalization": "response"},     // what all models are measured by
//       "output": "runs/my-grid"                                // [runs/NAME of the file]
//     }
//
// JSON with comments; docs/ablate.md says what each key is for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/core/json.h"

namespace rrhf::config {

/// One set of settings, trained once with each seed.
struct GridRun {
  std::string name;  ///< "sft", "rank_weight=10"; may be the name of a folder
  Json changes;      ///< what it sets on top of the config, by key path
  RunConfig config;  ///< whole; `output` and, where the grid has seeds, train.seed are still to be set
};

struct Grid {
  std::vector<GridRun> runs;        ///< in the order of the file: combinations, then those with a name
  std::vector<std::int64_t> seeds;  ///< empty: each run once, with its config's train.seed
  RunConfig measured;               ///< the config with what "measure" says on top
  std::string output;
  std::vector<std::string> warnings;
  Json resolved;  ///< the grid again, with the config written out: a grid file that needs no other
};

/// What a grid file refers to and this room does not know.
struct GridSources {
  std::vector<Override> overrides;  ///< --set of the command line: for all runs; `output` is the grid's
  std::vector<std::string> known_rank_losses;
  std::function<std::filesystem::path(const std::string& name)> preset_path;
};

/// Reads a grid file. Throws InputError with all mistakes of one kind together: keys and values as resolve() does; runs
/// whose settings are the same; settings that no training takes notice of; rows to measure by that are missing or
/// would differ among the runs.
Grid read_grid(const std::filesystem::path& path, const GridSources& sources);

}  // namespace rrhf::config
