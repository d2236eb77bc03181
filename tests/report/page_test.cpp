#include <algorithm>
#include <array>

#include "rrhf/report/chart.h"
#include "rrhf/report/format.h"
#include "rrhf/report/report.h"
#include "rrhf/report/settings.h"
#include "scratch_run.h"

namespace rrhf::report {
namespace {

RunRecord record(std::string name, int steps, int evaluations) {
  RunRecord run;
  run.name = std::move(name);
  run.config = Json{{"recipe", "paper"}, {"objective", {{"rank_loss", "rrhf"}}}};
  for (int i = 1; i <= steps; ++i) {
    run.steps.push_back({i, {{"loss", 3.0 / i}, {"rank_accuracy", 0.5}, {"learning_rate", 1e-5}}});
  }
  for (int i = 0; i < evaluations; ++i) {
    run.evaluations.push_back({i, {{"rank_accuracy", 0.5 + 0.1 * i}, {"margin", 0.25}, {"perplexity", 6.0}}});
  }
  return run;
}

std::string page_of(const RunRecord& run) { return html_report(std::array{run}); }

std::size_t count(const std::string& text, std::string_view part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(HtmlReport, IsOnePageThatNeedsNothingElse) {
  const std::string page = page_of(record("run", 5, 2));
  EXPECT_EQ(page.find("<!doctype html>"), 0u);
  for (const char* outside : {"http:", "https:", "<script", "<link", "src=", "@import", "url("}) {
    EXPECT_EQ(page.find(outside), std::string::npos) << outside;
  }
  EXPECT_NE(page.find("prefers-color-scheme: dark"), std::string::npos);
}

TEST(HtmlReport, ClosesWhatItOpens) {
  const std::string page = html_report(std::array{record("a", 40, 3), record("b", 2, 0)});
  for (const std::string tag :
       {"svg", "figure", "table", "tr", "td", "th", "g", "title", "details", "div", "span", "text"}) {
    const std::size_t opened = count(page, "<" + tag + ">") + count(page, "<" + tag + " ");
    EXPECT_EQ(opened, count(page, "</" + tag + ">")) << tag;
    EXPECT_GT(opened, 0u) << tag;
  }
}

TEST(HtmlReport, DrawsAChartOnlyForWhatWasMeasured) {
  // loss, rank accuracy, learning rate from the steps; margin and perplexity from the evaluations
  EXPECT_EQ(count(page_of(record("run", 5, 2)), "<svg"), 5u);
  EXPECT_EQ(count(page_of(record("run", 5, 0)), "<svg"), 3u);
  EXPECT_EQ(count(page_of(record("run", 0, 2)), "<svg"), 3u);
}

TEST(HtmlReport, SaysWhenThereIsNothingYet) {
  const std::string page = page_of(record("run", 0, 0));
  EXPECT_EQ(count(page, "<svg"), 0u);
  EXPECT_NE(page.find("The run has no steps yet."), std::string::npos);
  EXPECT_NE(page.find("No evaluation was made"), std::string::npos);
}

TEST(HtmlReport, NeverWritesANumberThatIsNone) {
  for (const auto& [steps, evaluations] : {std::pair{0, 1}, {1, 0}, {1, 1}, {2, 1}, {500, 9}}) {
    const std::string page = page_of(record("run", steps, evaluations));
    EXPECT_EQ(page.find("nan"), std::string::npos) << steps;
    EXPECT_EQ(page.find("inf,"), std::string::npos) << steps;
    EXPECT_EQ(page.find("\"inf"), std::string::npos) << steps;
  }
}

TEST(HtmlReport, EscapesNamesAndSettings) {
  RunRecord run = record("<b>&\"x\"", 2, 1);
  run.config["output"] = "</pre><i>";
  run.notes = {"<u>"};
  const std::string page = page_of(run);
  for (const char* raw : {"<b>&", "<i>", "<u>"}) EXPECT_EQ(page.find(raw), std::string::npos) << raw;
  EXPECT_NE(page.find("&lt;b&gt;&amp;&quot;x&quot;"), std::string::npos);
  EXPECT_NE(page.find("&lt;/pre&gt;&lt;i&gt;"), std::string::npos);
}

TEST(HtmlReport, ComparesStartEndAndBest) {
  RunRecord run = record("run", 3, 3);  // accuracies 0.5, 0.6, 0.7
  EXPECT_EQ(count(page_of(run), ">end, best</td>"), 1u);
  run.evaluations[1].values["rank_accuracy"] = 0.9;
  const std::string page = page_of(run);
  EXPECT_EQ(count(page, ">start</td>"), 1u);
  EXPECT_EQ(count(page, ">end</td>"), 1u);
  EXPECT_EQ(count(page, ">best</td>"), 1u);
  EXPECT_NE(page.find("90.0 %"), std::string::npos);
}

TEST(HtmlReport, NamesEveryRunInTheLegend) {
  const std::string page = html_report(std::array{record("first", 5, 2), record("second", 5, 2)});
  // A legend each for loss, accuracy, margin, perplexity and learning rate.
  EXPECT_EQ(count(page, "</i>first</span>"), 5u);
  EXPECT_EQ(count(page, "</i>second</span>"), 5u);
}

TEST(SvgChart, PlacesPointsOnTheFrame) {
  // The frame goes from x 52 to 546 and from y 230 (lowest tick, 0) up to 12 (highest, 1).
  const std::string svg = svg_chart({"T", "", {{"a", {{0, 0}, {10, 1}}, 0, false}}, Unit::plain, false});
  EXPECT_NE(svg.find("points=\"52.0,230.0 546.0,12.0\""), std::string::npos) << svg;
}

TEST(SvgChart, ShowsASinglePointAsAMark) {
  const std::string svg = svg_chart({"T", "", {{"a", {{3, 7}}, 0, false}}, Unit::plain, true});
  EXPECT_EQ(count(svg, "class=\"mark"), 1u);
  EXPECT_EQ(count(svg, "<polyline"), 0u);
  EXPECT_NE(svg.find("step 3\na  7.000"), std::string::npos);
}

TEST(SvgChart, ReadsOutEveryEvaluation) {
  std::vector<Point> training;
  for (int i = 1; i <= 1000; ++i) training.push_back({static_cast<double>(i), 1});
  const std::string svg = svg_chart({"T", "", {{"a", training, 0, false}, {"a", {{0, 2}, {357, 3}}, 0, true}}});
  EXPECT_NE(svg.find("<title>step 0\na (evaluation)  2.000</title>"), std::string::npos);
  EXPECT_NE(svg.find("<title>step 357\na  1.000\na (evaluation)  3.000</title>"), std::string::npos);
}

TEST(SvgChart, KeepsLongRunsSmall) {
  std::vector<Point> points;
  for (int i = 0; i < 100000; ++i) points.push_back({static_cast<double>(i), static_cast<double>(i % 17)});
  EXPECT_LT(svg_chart({"T", "", {{"a", points, 0, false}}, Unit::plain, true}).size(), 100000u);
}

TEST(TextTable, HasALineARun) {
  RunRecord bare;
  bare.name = "bare";
  EXPECT_EQ(text_table(std::array{record("run-1", 3, 2), bare}),
            "run    recipe  rank loss  steps  evaluated  loss  accuracy  margin  perplexity\n"
            "run-1  paper   rrhf           3          1     -    60.0 %  0.2500       6.000\n"
            "bare   -       -              -          -     -         -       -           -\n");
}

TEST(TextTable, HasTheLossOfTheEvaluationAndWithoutOneOfTheLastStep) {
  RunRecord evaluated = record("a", 3, 2);  // steps' losses 3, 1.5, 1; evaluated after step 1
  evaluated.evaluations.back().values["loss"] = 2.5;
  EXPECT_EQ(text_table(std::array{evaluated, record("b", 3, 0)}),
            "run  recipe  rank loss  steps  evaluated   loss  accuracy  margin  perplexity\n"
            "a    paper   rrhf           3          1  2.500    60.0 %  0.2500       6.000\n"
            "b    paper   rrhf           3          -  1.000         -       -           -\n");
}

TEST(TextTable, SaysHowFarAStoppedRunWasToGo) {
  RunRecord run = record("run", 3, 0);
  run.config["train"] = Json{{"epochs", 2}, {"queries_per_step", 4}};
  run.steps[0].values["queries"] = 4;
  run.steps[0].values["epoch"] = 0.4;  // of ten queries: three steps an epoch
  EXPECT_EQ(steps_done(run), "3 of 6");
  run.config["train"]["epoch_end"] = "carry";
  EXPECT_EQ(steps_done(run), "3 of 4");  // 10 / 4 whole steps an epoch
  run.config["train"]["max_steps"] = 3;
  EXPECT_EQ(steps_done(run), "3");
  run.config["train"] = Json{{"epochs", 5}, {"queries_per_step", 64}};
  run.steps[0].values["queries"] = 10;
  run.steps[0].values["epoch"] = 1;  // an epoch is less than a step
  EXPECT_EQ(steps_done(run), "3 of 5");
  run.steps.erase(run.steps.begin());
  EXPECT_EQ(steps_done(run), "3");
  EXPECT_NE(text_table(std::array{record("run", 0, 0)}).find("  -  "), std::string::npos);
}

TEST(TextTable, HasAColumnForEachSettingThatDiffers) {
  RunRecord a = record("a", 1, 0), b = record("b", 1, 0), bare;
  bare.name = "bare";
  a.config["output"] = "runs/a";
  b.config["output"] = "runs/b";
  a.config["objective"]["rank_weight"] = 1;
  b.config["objective"]["rank_weight"] = 10;
  a.config["data"] = Json{{"train", Json::array({"a/folder/with/a/long/name/ranked.jsonl"})}, {"shuffle", true}};
  b.config["data"] = Json{{"train", Json::array({"b.jsonl"})}, {"shuffle", true}, {"later", 1}};
  const std::string table = text_table(std::array{a, b, bare});
  EXPECT_EQ(table.substr(0, table.find('\n')),
            "run   recipe  rank loss  objective.rank_weight  data.train                    steps  evaluated   loss  "
            "accuracy  margin  perplexity");
  EXPECT_NE(table.find("rrhf       1                      .../a/long/name/ranked.jsonl"), std::string::npos) << table;
  EXPECT_NE(table.find("rrhf       10                     b.jsonl "), std::string::npos) << table;
  EXPECT_EQ(table.find("can't be compared"), std::string::npos);
  const std::string page = html_report(std::array{a, b});
  EXPECT_NE(page.find("<th>objective.rank_weight</th>"), std::string::npos);
  EXPECT_NE(page.find("<td>10</td>"), std::string::npos);
}

TEST(TextTable, ShowsAHandfulOfSettingsAndNamesTheRest) {
  RunRecord a = record("a", 1, 0), b = record("b", 1, 0);
  for (const char* key : {"s1", "s2", "s3", "s4", "s5", "s6", "s7"}) {
    a.config[key] = 1;
    b.config[key] = 2;
  }
  const std::string table = text_table(std::array{a, b});
  EXPECT_NE(table.find("  s5  "), std::string::npos);
  EXPECT_NE(table.find("other settings that differ: s6, s7\n"), std::string::npos) << table;
}

TEST(TextTable, SaysWhichFiguresAreOfDifferentScores) {
  RunRecord a = record("a", 1, 1), b = record("b", 1, 1);
  a.config["objective"]["normalization"] = "response";
  b.config["objective"]["normalization"] = "none";
  a.config["data"] = Json{{"template", "none"}, {"encoding", "plain"}};
  b.config["data"] = Json{{"template", "alpaca"}, {"encoding", "plain"}};
  const std::string note =
      "the runs differ in objective.normalization, data.template: their accuracies and margins are of different scores "
      "and can't be compared";
  EXPECT_NE(text_table(std::array{a, b}).find(note + "\n"), std::string::npos) << text_table(std::array{a, b});
  EXPECT_NE(html_report(std::array{a, b}).find(escape(note)), std::string::npos);
  EXPECT_EQ(text_table(std::array{a, a}).find("can't be compared"), std::string::npos);
}

TEST(Figure, HasFourDigits) {
  EXPECT_EQ(figure(6.0), "6.000");
  EXPECT_EQ(figure(0.031), "0.03100");
  EXPECT_EQ(figure(12345.6), "1.235e+04");
  EXPECT_EQ(figure(1234.0), "1234");
  EXPECT_EQ(figure(999.96), "1000");
  EXPECT_EQ(figure(std::nullopt), "-");
}

TEST(Percent, HasOneDigitAfterThePoint) { EXPECT_EQ(percent(0.63149), "63.1 %"); }

}  // namespace
}  // namespace rrhf::report
