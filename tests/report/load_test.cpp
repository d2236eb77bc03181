#include "rrhf/core/error.h"
#include "rrhf/report/report.h"
#include "scratch_run.h"

namespace rrhf::report {
namespace {

std::string message_of(const std::filesystem::path& folder) {
  try {
    load_run(folder);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

TEST(LoadRun, ReadsStepsEvaluationsAndSettings) {
  const ScratchRun run("a run",
                       R"({"event":"eval","step":0,"rank_accuracy":0.5,"groups":{"hh":{"rank_accuracy":0.25}}})"
                       "\n"
                       R"({"step":1,"loss":2.5,"timing":{"tokens_per_second":100}})"
                       "\r\n\n"
                       R"({"step":2,"loss":2.25,"grad_norm":null})"
                       "\n",
                       R"({"recipe": "paper"})");
  const RunRecord record = load_run(run.folder());
  EXPECT_EQ(record.name, "a run");
  EXPECT_EQ(record.config["recipe"], "paper");
  ASSERT_EQ(record.steps.size(), 2u);
  EXPECT_EQ(record.steps[0].step, 1);
  EXPECT_EQ(record.steps[0].value("timing.tokens_per_second"), 100);
  EXPECT_EQ(record.steps[1].value("loss"), 2.25);
  EXPECT_EQ(record.steps[1].value("grad_norm"), std::nullopt);
  ASSERT_EQ(record.evaluations.size(), 1u);
  EXPECT_EQ(record.evaluations[0].value("groups.hh.rank_accuracy"), 0.25);
  EXPECT_TRUE(record.notes.empty());
}

TEST(LoadRun, NamesTheRunWhenThePathEndsInASlash) {
  const ScratchRun run("named", "");
  EXPECT_EQ(load_run(run.folder().string() + "/").name, "named");
}

TEST(LoadRun, LeavesOutATornLastLineWithANote) {
  const ScratchRun run("torn", "{\"step\":1,\"loss\":2}\n{\"step\":2,\"lo", "{}");
  const RunRecord record = load_run(run.folder());
  EXPECT_EQ(record.steps.size(), 1u);
  EXPECT_EQ(record.notes, std::vector<std::string>{"metrics.jsonl:2: the last line is incomplete and was left out"});
}

TEST(LoadRun, LeavesOutOtherLinesWithANote) {
  const ScratchRun run("mixed", "{\"step\":1}\nhello\n[1]\n{\"loss\":1}\n{\"step\":\"x\"}\n{\"step\":3}\n", "{}");
  const RunRecord record = load_run(run.folder());
  EXPECT_EQ(record.steps.size(), 2u);
  ASSERT_EQ(record.notes.size(), 4u);
  EXPECT_EQ(record.notes[0], "metrics.jsonl:2: not a line of metrics, left out");
}

TEST(LoadRun, KeepsTheLastOfStepsDoneAgainAfterAResume) {
  const ScratchRun run("resumed",
                       "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":2}\n{\"step\":3,\"loss\":3}\n"
                       "{\"step\":2,\"loss\":20}\n",
                       "{}");
  const RunRecord record = load_run(run.folder());
  ASSERT_EQ(record.steps.size(), 2u);
  EXPECT_EQ(record.steps[1].value("loss"), 20);
}

TEST(LoadRun, PassesOverEventsOfAnotherKind) {
  const ScratchRun run("events", "{\"event\":\"save\",\"step\":1}\n", "{}");
  const RunRecord record = load_run(run.folder());
  EXPECT_TRUE(record.steps.empty() && record.evaluations.empty() && record.notes.empty());
}

TEST(LoadRun, TakesARunThatHasNotBegun) {
  const ScratchRun run("empty", "");
  const RunRecord record = load_run(run.folder());
  EXPECT_TRUE(record.steps.empty());
  EXPECT_EQ(record.notes, std::vector<std::string>{"there is no config.json: settings are not shown"});
}

TEST(LoadRun, RefusesAFolderWithoutMetrics) {
  EXPECT_EQ(message_of("no/such/run"),
            "[report] no/such/run: there is no metrics.jsonl; a run's folder is what `output` named in its config");
}

TEST(LoadRun, NamesTheRunsInAFolderOfSeveral) {
  const ScratchRun first("several/round-001", ""), second("several/sft/seed-2", ""), deeper("several/a/b/c", "");
  const std::filesystem::path folder = first.folder().parent_path();
  const std::string runs = fmt::format("{} {}", first.folder().string(), second.folder().string());
  EXPECT_EQ(message_of(folder),
            fmt::format("[report] {}: holds runs; name those to report: {}", folder.string(), runs));
  std::ofstream(folder / "inputs.json") << "{}";
  EXPECT_EQ(message_of(folder), fmt::format("[report] {}: holds a run of rrhf iterate; name the rounds to report: {}",
                                            folder.string(), runs));
  std::ofstream(folder / "grid.json") << "{}";
  EXPECT_EQ(
      message_of(folder),
      fmt::format("[report] {0}: holds an ablation, whose page is {0}/report.html; name runs of it to report: {1}",
                  folder.string(), runs));
  std::filesystem::remove_all(folder);
}

TEST(LoadRuns, NamesAreAsLongAsTellsThemApart) {
  const ScratchRun a("names/a/run", ""), b("names/b/run", ""), other("names/a/other", "");
  const std::vector<std::filesystem::path> folders{a.folder(), b.folder() / "", other.folder(), a.folder()};
  std::vector<std::string> names;
  for (const RunRecord& run : load_runs(folders)) names.push_back(run.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a/run", "b/run", "other", "a/run"}));
}

TEST(LoadRun, RefusesAFileWithoutAnyLineOfMetrics) {
  const ScratchRun run("prose", "once upon\na time\n");
  EXPECT_EQ(message_of(run.folder()), fmt::format("[report] {}: none of its lines is a line of metrics",
                                                  (run.folder() / "metrics.jsonl").string()));
}

TEST(LoadRun, RefusesABrokenConfig) {
  const ScratchRun run("broken", "{\"step\":1}\n", "{");
  EXPECT_NE(message_of(run.folder()).find("config.json: not JSON"), std::string::npos);
}

TEST(BestEvaluation, IsTheFirstOfTheHighestAccuracy) {
  RunRecord run;
  EXPECT_EQ(best_evaluation(run), nullptr);
  run.evaluations = {{0, {{"rank_accuracy", 0.5}}},
                     {10, {{"rank_accuracy", 0.75}}},
                     {20, {{"rank_accuracy", 0.75}}},
                     {30, {{"loss", 1.0}}}};
  EXPECT_EQ(best_evaluation(run)->step, 10);
}

}  // namespace
}  // namespace rrhf::report
