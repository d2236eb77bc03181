// What a run did, for people: a table on the terminal and a page with curves.
//
// Everything comes from the run's folder (config.json, metrics.jsonl), so that a report can be made again at any time,
// while the run goes on, and of several runs together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/json.h"

namespace rrhf::report {

/// One line of metrics.jsonl: its finite numbers by name, those of an inner object as "timing.tokens_per_second".
struct Row {
  std::int64_t step = 0;
  std::map<std::string, double, std::less<>> values;

  std::optional<double> value(std::string_view name) const;
};

/// What a run's folder says.
struct RunRecord {
  std::filesystem::path folder;    ///< where it was read from
  std::string name;                ///< the folder's name; of load_runs(), with those before it where it needs them
  Json config;                     ///< as resolved; null when the folder has none
  std::vector<Row> steps;          ///< steps rising; of a step done again after a resume, the last
  std::vector<Row> evaluations;    ///< the same for evaluations
  std::vector<std::string> notes;  ///< what was passed over, e.g. a line torn by a crash
};

/// Reads a run's folder. Lines that are not metrics are passed over with a note.
/// Throws InputError when there is no metrics.jsonl (naming the runs in it, of an iterated run or an ablation), or none
/// of its lines is a metrics line.
RunRecord load_run(const std::filesystem::path& folder);

/// Runs to be compared: folders of one name are named by as much of their paths as tells them apart.
std::vector<RunRecord> load_runs(std::span<const std::filesystem::path> folders);

/// The evaluation with the highest rank accuracy, the first of equals; null without evaluations.
const Row* best_evaluation(const RunRecord& run);

/// One page that needs no other file and no network: summary, curves of all runs on common axes, settings.
std::string html_report(std::span<const RunRecord> runs);

/// For a terminal, a line a run: recipe, rank loss, settings that differ among the runs, steps, and the figures of the
/// last evaluation with the step it was made after. The loss of a run without an evaluation is that of its last step.
/// Behind it, comparison_notes().
std::string text_table(std::span<const RunRecord> runs);

}  // namespace rrhf::report
