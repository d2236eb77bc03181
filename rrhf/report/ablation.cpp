#include "rrhf/report/ablation.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

#include "rrhf/report/dot_plot.h"
#include "rrhf/report/format.h"
#include "rrhf/report/html.h"

namespace rrhf::report {
namespace {

// A figure of the table. Percentages are a hundred times what was measured.
struct ShownFigure {
  std::string_view name, title, caption, heading;
  int decimals;
  Unit unit = Unit::plain;
};

constexpr std::array shown_figures{
    ShownFigure{"rank_accuracy", "Ranking accuracy", "pairs in the order of their rewards; 50 % is chance", "accuracy",
                1, Unit::percent},
    ShownFigure{"margin", "Margin", "score of the better less the worse, mean over pairs", "margin", 4},
    ShownFigure{"perplexity", "Perplexity", "of the best response", "perplexity", 3},
    ShownFigure{"loss", "Loss", "per query, the same loss for all", "loss", 4},
};

std::vector<double> values_of(const MeasuredModels& models, std::string_view name) {
  std::vector<double> values;
  for (const auto& figures : models.figures) {
    if (const auto found = figures.find(name); found != figures.end()) values.push_back(found->second);
  }
  return values;
}

std::string number(double value, int decimals) {
  constexpr double most = 1e6;  // beyond it decimals say nothing
  return std::abs(value) < most ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.3e}", value);
}

// "61.2 ± 0.8 %", "61.2 %" for a single value, "-" for none.
std::string with_deviation(const std::vector<double>& values, const ShownFigure& figure) {
  if (values.empty()) return "-";
  const double scale = figure.unit == Unit::percent ? 100 : 1;
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += scale * value;
  for (const double value : values) squares += std::pow(scale * value - sum / count, 2);
  std::string text = number(sum / count, figure.decimals);
  if (values.size() > 1) text += " ± " + number(std::sqrt(squares / (count - 1)), figure.decimals);
  return figure.unit == Unit::percent ? text + " %" : text;
}

// The notes, and which means are over fewer models than there are to be.
std::vector<std::string> all_notes(const Ablation& ablation) {
  std::vector<std::string> notes = ablation.notes;
  for (const MeasuredModels& models : ablation.models) {
    const std::size_t measured = models.figures.size();
    if (measured == 0) continue;
    if (measured < models.expected)
      notes.push_back(fmt::format("{}: {} of {} seeds", models.name, measured, models.expected));
    for (const ShownFigure& figure : shown_figures) {
      const std::size_t count = values_of(models, figure.name).size();
      if (count < measured)
        notes.push_back(fmt::format("{}: {} of {} of {} models", models.name, figure.heading, count, measured));
    }
  }
  return notes;
}

std::vector<TableLine> lines_of(const Ablation& ablation) {
  std::vector<TableLine> lines{{"model"}};
  for (const ShownFigure& figure : shown_figures) lines[0].emplace_back(figure.heading);
  for (const MeasuredModels& models : ablation.models) {
    TableLine line{models.name};
    for (const ShownFigure& figure : shown_figures)
      line.push_back(with_deviation(values_of(models, figure.name), figure));
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string table_in_html(const Ablation& ablation) {
  std::string head, rows;
  const std::vector<TableLine> lines = lines_of(ablation);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string cells;
    for (std::size_t column = 0; column < lines[i].size(); ++column) {
      cells += fmt::format("<{0}{1}>{2}</{0}>", i == 0 ? "th" : "td", column == 0 ? " class=\"name\"" : "",
                           escape(lines[i][column]));
    }
    (i == 0 ? head : rows) += fmt::format("<tr>{}</tr>\n", cells);
  }
  return fmt::format("<div class=\"card\"><table>\n<thead>{}</thead>\n<tbody>\n{}</tbody></table></div>\n", head, rows);
}

// Models have the colors that the curves of their trainings have.
std::string pictures(const Ablation& ablation) {
  std::string html;
  for (const ShownFigure& figure : shown_figures) {
    DotPlot plot{std::string(figure.title), std::string(figure.caption), {}, figure.unit};
    int color = 0;
    for (const MeasuredModels& models : ablation.models) {
      plot.lines.push_back({models.name, values_of(models, figure.name), models.runs.empty() ? -1 : color++});
    }
    html += svg_dot_plot(plot);
  }
  return html.empty() ? "" : "<div class=\"charts\">\n" + html + "</div>\n";
}

std::vector<Row> mean_rows(std::span<const RunRecord> runs, std::vector<Row> RunRecord::*rows) {
  struct Sum {
    double sum = 0, count = 0;
  };
  std::map<std::int64_t, std::map<std::string, Sum, std::less<>>> sums;
  for (const RunRecord& run : runs) {
    for (const Row& row : run.*rows) {
      for (const auto& [name, value] : row.values) {
        Sum& sum = sums[row.step][name];
        sum.sum += value;
        ++sum.count;
      }
    }
  }
  std::vector<Row> means;
  for (const auto& [step, by_name] : sums) {
    Row row{.step = step};
    for (const auto& [name, sum] : by_name) row.values[name] = sum.sum / sum.count;
    means.push_back(std::move(row));
  }
  return means;
}

constexpr std::string_view lead =
    "Dots are models, one a seed, bars their means. Point at a picture to read its values.";

constexpr std::string_view trainings =
    "<h1>The trainings</h1>\n<p class=\"lead\">Means over seeds. Lines are training, smoothed, with the values "
    "themselves faint behind; dots are evaluations during the training, each by its run's own score and loss. What "
    "stands above is by one for all, and can be compared.</p>\n";

}  // namespace

RunRecord mean_run(std::span<const RunRecord> runs, const std::string& name) {
  RunRecord mean{.name = name,
                 .config = runs.empty() ? Json() : runs[0].config,
                 .steps = mean_rows(runs, &RunRecord::steps),
                 .evaluations = mean_rows(runs, &RunRecord::evaluations)};
  for (const RunRecord& run : runs) mean.notes.insert(mean.notes.end(), run.notes.begin(), run.notes.end());
  return mean;
}

std::string ablation_table(const Ablation& ablation) {
  std::string text = in_columns(lines_of(ablation), 1);
  for (const std::string& note : all_notes(ablation)) text += note + "\n";
  return text;
}

std::string ablation_page(const Ablation& ablation) {
  std::string body = "<h2>Models, measured alike</h2>\n" + table_in_html(ablation);
  for (const std::string& note : all_notes(ablation)) body += fmt::format("<p class=\"lead\">{}</p>\n", escape(note));
  std::vector<RunRecord> runs;
  for (const MeasuredModels& models : ablation.models) {
    if (!models.runs.empty()) runs.push_back(mean_run(models.runs, models.name));
  }
  body += pictures(ablation);
  return html_page(ablation.name, lead, runs.empty() ? body : body + std::string(trainings) + runs_in_html(runs));
}

}  // namespace rrhf::report
