#include <algorithm>

#include "rrhf/report/format.h"
#include "rrhf/report/report.h"
#include "rrhf/report/settings.h"

namespace rrhf::report {
namespace {

// The figures of the last evaluation, however far the training went on after it; the loss of a run without one is its
// last step's.
void add_figures(const RunRecord& run, TableLine& line) {
  const Row* eval = run.evaluations.empty() ? nullptr : &run.evaluations.back();
  const Row* last = eval != nullptr || run.steps.empty() ? eval : &run.steps.back();
  const auto of = [](const Row* row, std::string_view name) { return row ? row->value(name) : std::nullopt; };
  line.push_back(steps_done(run));
  line.push_back(eval ? std::to_string(eval->step) : "-");
  line.push_back(figure(of(last, "loss")));
  line.push_back(percent(of(eval, "rank_accuracy")));
  line.push_back(figure(of(eval, "margin")));
  line.push_back(figure(of(eval, "perplexity")));
}

}  // namespace

std::string text_table(std::span<const RunRecord> runs) {
  std::vector<DifferingSetting> differing = differing_settings(runs);
  differing.resize(std::min(differing.size(), most_settings_shown));
  std::vector<TableLine> lines{{"run", "recipe", "rank loss"}};
  for (const DifferingSetting& setting : differing) lines[0].push_back(setting.key);
  const std::size_t words = lines[0].size();
  for (const char* name : {"steps", "evaluated", "loss", "accuracy", "margin", "perplexity"}) lines[0].push_back(name);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    TableLine line{runs[i].name, setting(runs[i].config, {"recipe"}),
                   setting(runs[i].config, {"objective", "rank_loss"})};
    for (const DifferingSetting& setting : differing) line.push_back(setting.values[i]);
    add_figures(runs[i], line);
    lines.push_back(std::move(line));
  }
  std::string table = in_columns(lines, words);
  for (const std::string& note : comparison_notes(runs)) table += note + "\n";
  return table;
}

}  // namespace rrhf::report
