// The models of an ablation side by side: a table and a page, means over seeds.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "rrhf/report/report.h"

namespace rrhf::report {

/// Models that were made alike but for the seed, or the one model that runs began from.
struct MeasuredModels {
  std::string name;
  bool start = false;        ///< the one that runs began from
  std::size_t expected = 0;  ///< how many there are to be; those that failed or are to come have no figures
  /// rank_accuracy, margin, perplexity and loss of each that has been measured.
  std::vector<std::map<std::string, double, std::less<>>> figures;
  std::vector<RunRecord> runs;  ///< their trainings; none of a start
};

/// All models of an ablation, measured alike.
struct Ablation {
  std::string name;
  std::vector<MeasuredModels> models;  ///< starts first
  std::vector<std::string> notes;      ///< what a reader must know beside the figures, a line each
};

/// For a terminal: a line a set of models, "61.2 ± 0.8 %" being mean and standard deviation (of n - 1) over their
/// seeds. Below it the notes, and which means are over fewer models than there are to be.
std::string ablation_table(const Ablation& ablation);

/// One page that needs no other file: the table, a picture of each figure with a dot a model, and the curves of the
/// trainings, means over seeds.
std::string ablation_page(const Ablation& ablation);

/// Rows and evaluations of several runs, each value the mean over the runs that have it at that step; settings and
/// notes are the first run's, and the notes of the others.
RunRecord mean_run(std::span<const RunRecord> runs, const std::string& name);

}  // namespace rrhf::report
