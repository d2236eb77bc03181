// What the settings of runs say about their figures: how far a run was to go, what an ablation changed, and whether
// figures may be compared.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rrhf/report/report.h"

namespace rrhf::report {

/// How many steps a run is to take, found from its settings and the share of an epoch that its first step took (the
/// rule is data/step_plan.h's). Nothing where config.json or the first step's line is missing.
std::optional<std::int64_t> planned_steps(const RunRecord& run);

/// "37 of 240" for a run that is not at its end, "240" for one that is, "-" for one without a step.
std::string steps_done(const RunRecord& run);

/// A setting that not all runs have alike.
struct DifferingSetting {
  std::string key;                  ///< "objective.rank_weight"
  std::vector<std::string> values;  ///< one a run, shortened; "-" where its config.json has none
};

/// All settings that differ but `output` and those that the tables always show, recipe and objective.rank_loss, in the
/// order of config.json. A setting that came later than an older run differs only among the runs that have it.
std::vector<DifferingSetting> differing_settings(std::span<const RunRecord> runs);

/// The most of them that a table shows, the first ones.
inline constexpr std::size_t most_settings_shown = 5;

/// What a reader of the runs' figures must know beside them, a line each: settings that differ and are not shown, and
/// that accuracies and margins are of different scores. Empty where there is nothing.
std::vector<std::string> comparison_notes(std::span<const RunRecord> runs);

}  // namespace rrhf::report
