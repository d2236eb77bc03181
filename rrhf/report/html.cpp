#include <fmt/format.h>

#include <algorithm>

#include "rrhf/report/chart.h"
#include "rrhf/report/format.h"
#include "rrhf/report/html.h"
#include "rrhf/report/report.h"
#include "rrhf/report/settings.h"
#include "rrhf/report/style.h"

namespace rrhf::report {
namespace {

std::string evaluation_row(const RunRecord& run, std::string_view when, const Row& row, bool first) {
  std::string cells = fmt::format("<td class=\"name\">{}</td><td class=\"name\">{}</td><td>{}</td>",
                                  first ? escape(run.name) : "", when, row.step);
  cells += fmt::format("<td>{}</td>", percent(row.value("rank_accuracy")));
  for (const char* metric : {"margin", "perplexity", "loss", "rank_loss", "sft_loss"}) {
    cells += fmt::format("<td>{}</td>", figure(row.value(metric)));
  }
  return fmt::format("<tr{}>{}</tr>\n", first ? "" : " class=\"same\"", cells);
}

std::string evaluation_rows(const RunRecord& run) {
  if (run.evaluations.empty()) return "";
  const Row& start = run.evaluations.front();
  const Row& end = run.evaluations.back();
  const Row* best = best_evaluation(run);
  const bool single = run.evaluations.size() == 1;
  std::string rows = evaluation_row(run, single ? "evaluation" : "start", start, true);
  if (!single) rows += evaluation_row(run, best == &end ? "end, best" : "end", end, false);
  if (best && best != &start && best != &end) rows += evaluation_row(run, "best", *best, false);
  return rows;
}

std::string summary(std::span<const RunRecord> runs) {
  std::string rows;
  for (const RunRecord& run : runs) rows += evaluation_rows(run);
  if (rows.empty())
    return "<p class=\"lead\">No evaluation was made: there is nothing to compare before and after with.</p>\n";
  return "<h2>Evaluations</h2>\n<div class=\"card\"><table>\n<thead><tr><th class=\"name\">run</th><th "
         "class=\"name\"></th>"
         "<th>step</th><th>ranking accuracy</th><th>mean margin</th><th>perplexity (best)</th><th>loss</th><th>rank "
         "loss</th>"
         "<th>SFT loss</th></tr></thead>\n<tbody>\n" +
         rows + "</tbody></table></div>\n";
}

std::string training_row(const RunRecord& run) {
  const Row* last = run.steps.empty() ? nullptr : &run.steps.back();
  const auto of = [last](std::string_view name) { return last ? last->value(name) : std::nullopt; };
  std::string cells =
      fmt::format("<td class=\"name\">{}</td><td class=\"name\">{}</td><td class=\"name\">{}</td>", escape(run.name),
                  escape(setting(run.config, {"recipe"})), escape(setting(run.config, {"objective", "rank_loss"})));
  cells += fmt::format("<td>{}</td>", steps_done(run));
  for (const char* metric : {"epoch", "loss", "rank_loss", "sft_loss"})
    cells += fmt::format("<td>{}</td>", figure(of(metric)));
  return fmt::format("<tr>{}<td>{}</td></tr>\n", cells, percent(of("rank_accuracy")));
}

// What an ablation changed, a line a run.
std::string differences(std::span<const RunRecord> runs) {
  std::vector<DifferingSetting> differing = differing_settings(runs);
  differing.resize(std::min(differing.size(), most_settings_shown));
  std::string html;
  for (const std::string& note : comparison_notes(runs))
    html += fmt::format("<p class=\"lead\">{}</p>\n", escape(note));
  if (differing.empty()) return html;
  std::string head, rows;
  for (const DifferingSetting& setting : differing) head += fmt::format("<th>{}</th>", escape(setting.key));
  for (std::size_t i = 0; i < runs.size(); ++i) {
    rows += fmt::format("<tr><td class=\"name\">{}</td>", escape(runs[i].name));
    for (const DifferingSetting& setting : differing) rows += fmt::format("<td>{}</td>", escape(setting.values[i]));
    rows += "</tr>\n";
  }
  return fmt::format(
             "<h2>Settings that differ</h2>\n<div class=\"card\"><table>\n<thead><tr><th "
             "class=\"name\">run</th>{}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
             head, rows) +
         html;
}

std::string training(std::span<const RunRecord> runs) {
  std::string rows;
  for (const RunRecord& run : runs) rows += training_row(run);
  return "<h2>Last step of the training</h2>\n<div class=\"card\"><table>\n<thead><tr><th class=\"name\">run</th>"
         "<th class=\"name\">recipe</th><th class=\"name\">ranking loss</th><th>step</th><th>epoch</th><th>loss</th>"
         "<th>rank loss</th><th>SFT loss</th><th>ranking accuracy</th></tr></thead>\n<tbody>\n" +
         rows + "</tbody></table></div>\n";
}

// One metric of every run, from its steps and its evaluations. With one run, training and evaluation differ in color.
Chart chart_of(std::span<const RunRecord> runs, std::string title, std::string caption, std::string_view metric) {
  Chart chart{std::move(title), std::move(caption), {}, Unit::plain, true};
  const bool single = runs.size() == 1;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const int color = static_cast<int>(i);
    const std::string& name = runs[i].name;
    chart.curves.push_back({single ? "training" : name, points_of(runs[i].steps, metric), color, false});
    chart.curves.push_back(
        {single ? "evaluation" : name, points_of(runs[i].evaluations, metric), single ? 1 : color, true});
  }
  return chart;
}

// A single run's loss with its parts.
Chart loss_parts(const RunRecord& run) {
  Chart chart{"Loss", "per query, the parts before their weights", {}, Unit::plain, true};
  int color = 0;
  for (const auto& [metric, label] : {std::pair{"loss", "total"}, {"sft_loss", "SFT"}, {"rank_loss", "rank"}}) {
    chart.curves.push_back({label, points_of(run.steps, metric), color, false});
    chart.curves.push_back({label, points_of(run.evaluations, metric), color, true});
    ++color;
  }
  return chart;
}

std::string charts(std::span<const RunRecord> runs) {
  std::vector<Chart> all;
  if (runs.size() == 1) {
    all.push_back(loss_parts(runs[0]));
  } else {
    all.push_back(chart_of(runs, "Loss", "per query", "loss"));
    all.push_back(chart_of(runs, "Rank loss", "before its weight", "rank_loss"));
    all.push_back(chart_of(runs, "SFT loss", "before its weight", "sft_loss"));
  }
  all.push_back(
      chart_of(runs, "Ranking accuracy", "pairs in the order of their rewards; 50 % is chance", "rank_accuracy"));
  all.back().unit = Unit::percent;
  all.push_back(chart_of(runs, "Margin", "score of the better less the worse, mean over pairs", "margin"));
  all.push_back(chart_of(runs, "Perplexity", "of the best response", "perplexity"));
  all.push_back(chart_of(runs, "Gradient norm", "before clipping", "grad_norm"));
  all.push_back(chart_of(runs, "Learning rate", "as applied", "learning_rate"));
  all.back().smooth = false;
  all.push_back(chart_of(runs, "Speed", "tokens per second", "timing.tokens_per_second"));

  std::string html;
  for (const Chart& chart : all) html += svg_chart(chart);
  if (html.empty()) return "<p class=\"lead\">The run has no steps yet.</p>\n";
  return fmt::format("<h2>Curves</h2>\n<div class=\"charts{}\">\n", runs.size() > 1 ? " many" : "") + html + "</div>\n";
}

std::string settings(std::span<const RunRecord> runs) {
  std::string html;
  for (const RunRecord& run : runs) {
    if (run.config.is_null()) continue;
    html += fmt::format("<details><summary>{}</summary><pre>{}</pre></details>\n", escape(run.name),
                        escape(dump_json(run.config, 2)));
  }
  return html.empty() ? "" : "<h2>Settings</h2>\n" + html;
}

std::string notes(std::span<const RunRecord> runs) {
  std::string items;
  for (const RunRecord& run : runs) {
    for (const std::string& note : run.notes) items += fmt::format("<li>{}: {}</li>\n", escape(run.name), escape(note));
  }
  return items.empty() ? "" : "<h2>Notes</h2>\n<ul class=\"notes\">\n" + items + "</ul>\n";
}

constexpr std::string_view how_to_read =
    "Lines are training, smoothed, with the values themselves faint behind; dots are evaluations. Point at a curve to "
    "read "
    "its values.";

std::string title_of(std::span<const RunRecord> runs) {
  return runs.size() == 1 ? runs[0].name : fmt::format("{} runs", runs.size());
}

}  // namespace

std::string html_page(std::string_view title, std::string_view lead, std::string_view body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<title>{0} - RRHF "
      "report</title>\n<style>{1}</style></head>\n<body>\n<h1>{0}</h1>\n<p class=\"lead\">{2}</p>\n{3}</body></html>\n",
      escape(title), style_sheet, escape(lead), body);
}

std::string runs_in_html(std::span<const RunRecord> runs) {
  return differences(runs) + summary(runs) + training(runs) + charts(runs) + settings(runs) + notes(runs);
}

std::string html_report(std::span<const RunRecord> runs) {
  return html_page(title_of(runs), how_to_read, runs_in_html(runs));
}

}  // namespace rrhf::report
