#include "rrhf/report/ablation.h"

#include <gtest/gtest.h>

#include <array>

#include "rrhf/report/dot_plot.h"

namespace rrhf::report {
namespace {

using Figures = std::map<std::string, double, std::less<>>;

RunRecord training(std::string name, std::vector<Row> steps, std::vector<Row> evaluations = {}) {
  return {.name = std::move(name),
          .config = Json{{"recipe", "paper"}, {"objective", {{"rank_loss", "rrhf"}}}},
          .steps = std::move(steps),
          .evaluations = std::move(evaluations)};
}

Ablation two_seeds() {
  const Figures start{{"rank_accuracy", 0.5}, {"margin", 0.125}, {"perplexity", 6}, {"loss", 2}};
  // accuracy 60, 66: mean 63, deviation sqrt(2 x 3^2 / 1) = 4.24
  const Figures first{{"rank_accuracy", 0.60}, {"margin", 0.2}, {"perplexity", 4}, {"loss", 1}};
  const Figures second{{"rank_accuracy", 0.66}, {"margin", 0.2}, {"perplexity", 5}, {"loss", 1.5}};
  return {.name = "my ablation",
          .models = {{.name = "start", .start = true, .expected = 1, .figures = {start}, .runs = {}},
                     {.name = "rank_weight=1",
                      .expected = 2,
                      .figures = {first, second},
                      .runs = {training("seed-1", {{1, {{"loss", 3}}}}), training("seed-2", {{1, {{"loss", 1}}}})}},
                     {.name = "failed", .expected = 2, .figures = {}, .runs = {}}},
          .notes = {"mean ± standard deviation over 2 seeds"}};
}

TEST(AblationTable, HasMeanAndDeviationOverSeeds) {
  EXPECT_EQ(ablation_table(two_seeds()),
            "model              accuracy           margin     perplexity             loss\n"
            "start                50.0 %           0.1250          6.000           2.0000\n"
            "rank_weight=1  63.0 ± 4.2 %  0.2000 ± 0.0000  4.500 ± 0.707  1.2500 ± 0.3536\n"
            "failed                    -                -              -                -\n"
            "mean ± standard deviation over 2 seeds\n");
}

TEST(AblationTable, LeavesOutAFigureThatAModelDoesNotHave) {
  Ablation ablation = two_seeds();
  ablation.models[1].figures[0].erase("rank_accuracy");  // no pair of unequal rewards
  EXPECT_NE(ablation_table(ablation).find("rank_weight=1    66.0 %"), std::string::npos) << ablation_table(ablation);
}

TEST(AblationTable, SaysWhichMeansAreOverFewerModels) {
  Ablation ablation = two_seeds();
  ablation.models[1].expected = 3;
  ablation.models[1].figures[1].erase("perplexity");  // beyond what a number holds
  const std::string table = ablation_table(ablation);
  EXPECT_NE(table.find("\nrank_weight=1: 2 of 3 seeds\nrank_weight=1: perplexity of 1 of 2 models\n"),
            std::string::npos)
      << table;
}

TEST(AblationTable, WritesHugeFiguresShort) {
  Ablation ablation = two_seeds();
  ablation.models.resize(1);
  ablation.models[0].figures[0]["margin"] = -1.5e200;
  EXPECT_NE(ablation_table(ablation).find("  -1.500e+200  "), std::string::npos) << ablation_table(ablation);
}

TEST(AblationPage, ShowsTablePicturesAndCurves) {
  const std::string page = ablation_page(two_seeds());
  for (const char* part :
       {"<h1>my ablation</h1>", "63.0 ± 4.2 %", "<h1>The trainings</h1>", "aria-label=\"Margin of the models\"",
        "aria-label=\"Loss over the steps of the run\"", "mean ± standard deviation over 2 seeds"}) {
    EXPECT_NE(page.find(part), std::string::npos) << part;
  }
  Ablation untrained = two_seeds();
  untrained.models.resize(1);
  EXPECT_EQ(ablation_page(untrained).find("The trainings"), std::string::npos);
}

TEST(AblationPage, KeepsNamesFromBeingMarkup) {
  Ablation ablation = two_seeds();
  ablation.name = "<a>";
  for (MeasuredModels& models : ablation.models) models.name = "<b>\"&";
  ablation.notes = {"<i>"};
  const std::string page = ablation_page(ablation);
  for (const char* markup : {"<a>", "<b>\"", "<i>"}) EXPECT_EQ(page.find(markup), std::string::npos) << markup;
}

TEST(MeanRun, IsTheMeanOverThoseThatHaveAValueAtAStep) {
  const std::array runs{training("a", {{1, {{"loss", 3}, {"margin", 1}}}, {2, {{"loss", 2}}}}, {{0, {{"loss", 8}}}}),
                        training("b", {{1, {{"loss", 5}}}, {3, {{"loss", 7}}}}, {{0, {{"loss", 4}}}})};
  const RunRecord mean = mean_run(runs, "both");
  EXPECT_EQ(mean.name, "both");
  EXPECT_EQ(mean.config, runs[0].config);
  ASSERT_EQ(mean.steps.size(), 3u);
  EXPECT_EQ(mean.steps[0].step, 1);
  EXPECT_EQ(mean.steps[0].value("loss"), 4);
  EXPECT_EQ(mean.steps[0].value("margin"), 1);
  EXPECT_EQ(mean.steps[1].value("loss"), 2);
  EXPECT_EQ(mean.steps[2].value("loss"), 7);
  ASSERT_EQ(mean.evaluations.size(), 1u);
  EXPECT_EQ(mean.evaluations[0].value("loss"), 6);
}

TEST(DotPlot, HasADotAValueAndABarALine) {
  const auto count = [](const std::string& text, std::string_view part) {
    std::size_t found = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  };
  const std::string svg = svg_dot_plot({"Loss", "per query", {{"a", {1, 3}, 0}, {"b", {2}, 1}, {"none", {}, 2}}});
  EXPECT_EQ(count(svg, "class=\"mark\""), 3u);
  EXPECT_EQ(count(svg, "class=\"mean\""), 2u);
  EXPECT_NE(svg.find("<title>a  2.000\n1.000\n3.000</title>"), std::string::npos) << svg;
  EXPECT_NE(svg.find("<title>b  2.000</title>"), std::string::npos);
  // Names of four letters at most leave 28 + 4 x 6.6 to the left. The axis goes from 1 to 3, from there to 536: the
  // dots stand at its ends, the bar in its middle.
  for (const char* at : {"cx=\"54.4\"", "cx=\"536.0\"", "x1=\"295.2\" x2=\"295.2\""}) {
    EXPECT_NE(svg.find(at), std::string::npos) << at << svg;
  }
  EXPECT_EQ(svg_dot_plot({"Loss", "per query", {{"none", {}, 0}}}), "");
}

TEST(DotPlot, LeavesOutTheMiddleOfALongName) {
  const std::string name = "rank_weight=0.25,length_penalty=1,learning_rate=0.00025";
  const std::string svg = svg_dot_plot({"Loss", "", {{name, {1}, 0}}});
  EXPECT_NE(svg.find(">rank_weight=0.25,lengt...arning_rate=0.00025</text>"), std::string::npos) << svg;
  EXPECT_NE(svg.find("<title>" + name), std::string::npos);
}

TEST(DotPlot, DrawsASingleValue) {
  const std::string svg = svg_dot_plot({"Accuracy", "", {{"only", {0.5}, -1}}, Unit::percent});
  EXPECT_NE(svg.find("<title>only  50.0 %</title>"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
}

}  // namespace
}  // namespace rrhf::report
