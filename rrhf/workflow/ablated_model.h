// The models of an ablation: what its runs began from, and what each leaves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/config/grid.h"
#include "rrhf/workflow/measurement.h"

namespace rrhf::workflow {

/// A start, or the model of one run and seed. Refers to the grid it is of.
struct AblatedModel {
  std::string name;                      ///< its folder in the grid's: "start/1", "rank_weight=10/seed-2"
  std::string family;                    ///< what is averaged over seeds: "start", "rank_weight=10"
  std::optional<std::int64_t> seed;      ///< of a run in a grid with seeds
  const config::GridRun* run = nullptr;  ///< null for a start
  config::RunConfig training;            ///< of a run
  std::vector<std::string> begin_here;   ///< of a start: the names of runs' models
  Measurement measurement;

  bool is_start() const noexcept { return run == nullptr; }
  std::filesystem::path folder() const;
  bool trained() const;  ///< true for a start
  bool done() const { return trained() && measurement.figures().has_value(); }
};

/// Why it failed: a stage of its chain keeps that there (child_commands.h). "" where nothing did.
std::string failure_of(const AblatedModel& model);
std::filesystem::path failure_file(const AblatedModel& model);

/// Throws InputError where the files that the model is measured on are not those that models_of() read.
void require_same_files(const AblatedModel& model);

/// All of them: the different starts, a model of each run, and the same with the next seed, so that what is there early
/// says most. Reads the files that models are measured on, for their hashes.
std::vector<AblatedModel> models_of(const config::Grid& grid);

}  // namespace rrhf::workflow
