// What is known of an ablation's models, made of their figures and trainings each time.
#pragma once

#include <span>
#include <string>

#include "rrhf/config/grid.h"
#include "rrhf/report/ablation.h"
#include "rrhf/workflow/ablated_model.h"

namespace rrhf::workflow {

/// For table and page. Models that have not been measured yet are there without figures; a training whose metrics
/// can't be read is named in the notes.
report::Ablation ablation_of(const config::Grid& grid, std::span<const AblatedModel> models);

/// Writes results.jsonl, a line a model, and report.html into the grid's folder.
/// {"model", "figures" as of rrhf eval --json or null}, of a start "runs" that begin there, of a run "seed" and
/// "changes".
void write_results(const config::Grid& grid, std::span<const AblatedModel> models, const report::Ablation& ablation);

/// "ranking accuracy 61.2 %  margin 0.1710  perplexity 2.091" of a model that has been measured.
std::string figures_in_words(const AblatedModel& model);

}  // namespace rrhf::workflow
