#include <algorithm>

#include "rrhf/core/unicode.h"
#include "rrhf/report/format.h"
#include "rrhf/report/report.h"

namespace rrhf::report {
namespace {

using Line = std::vector<std::string>;

Line line_of(const RunRecord& run) {
  const Row* last = run.steps.empty() ? nullptr : &run.steps.back();
  const Row* eval = run.evaluations.empty() ? nullptr : &run.evaluations.back();
  const auto of = [](const Row* row, std::string_view name) { return row ? row->value(name) : std::nullopt; };
  return {run.name,
          setting(run.config, {"recipe"}),
          setting(run.config, {"objective", "rank_loss"}),
          last ? std::to_string(last->step) : "-",
          figure(of(last, "loss")),
          percent(of(eval, "rank_accuracy")),
          figure(of(eval, "margin")),
          figure(of(eval, "perplexity"))};
}

}  // namespace

std::string text_table(std::span<const RunRecord> runs) {
  std::vector<Line> lines{{"run", "recipe", "rank loss", "steps", "loss", "accuracy", "margin", "perplexity"}};
  for (const RunRecord& run : runs) lines.push_back(line_of(run));

  constexpr std::size_t words = 3;  // the first columns are words and stand on the left, numbers on the right
  std::string table;
  for (const Line& line : lines) {
    for (std::size_t column = 0; column < line.size(); ++column) {
      std::size_t width = 0;
      for (const Line& other : lines) width = std::max(width, code_points(other[column]));
      const std::string gap(width - code_points(line[column]), ' ');
      table += (column == 0 ? "" : "  ") + (column < words ? line[column] + gap : gap + line[column]);
    }
    table += "\n";
  }
  return table;
}

}  // namespace rrhf::report
