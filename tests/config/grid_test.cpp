#include "rrhf/config/grid.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "rrhf/config/grid_names.h"
#include "rrhf/core/error.h"

namespace rrhf::config {
namespace {

namespace fs = std::filesystem;

// A grid file and a config file "base.json" beside it.
class GridTest : public testing::Test {
 protected:
  GridTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    write("base.json", R"({
      "model": {"path": "start"}, "data": {"train": "a.jsonl", "eval_fraction": 0.25},
      "train": {"epochs": 2, "seed": 7}, "output": "elsewhere"
    })");
  }
  ~GridTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  // `text` with "base.json" where it says BASE.
  Grid grid(std::string text, std::vector<Override> overrides = {}) const {
    const std::size_t at = text.find("BASE");
    if (at != std::string::npos) text.replace(at, 4, (folder_ / "base.json").string());
    return read_grid(write("my-grid.json", text),
                     {.overrides = std::move(overrides),
                      .known_rank_losses = {"rrhf", "none"},
                      .preset_path = [this](const std::string& name) { return folder_ / (name + ".json"); }});
  }

  // The lines of the message, with "GRID" for the file's path.
  std::vector<std::string> mistakes(const std::string& text) const {
    std::vector<std::string> lines;
    try {
      grid(text);
    } catch (const InputError& error) {
      std::istringstream message(error.what());
      const std::string path = (folder_ / "my-grid.json").string();
      for (std::string line; std::getline(message, line);) {
        for (auto at = line.find(path); at != std::string::npos; at = line.find(path)) {
          line.replace(at, path.size(), "GRID");
        }
        lines.push_back(line);
      }
    }
    return lines;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / fmt::format("rrhf-grid-test-{}", ::getpid());
};

using Lines = std::vector<std::string>;

std::vector<std::string> names(const Grid& grid) {
  std::vector<std::string> names;
  for (const GridRun& run : grid.runs) names.push_back(run.name);
  return names;
}

TEST_F(GridTest, HasEveryCombinationAndThenTheNamedRuns) {
  const Grid read = grid(R"({
    "config": "BASE",
    "set": {"train.epochs": 5},
    "vary": {"objective.rank_weight": [0, 2.5], "recipe": ["default", "paper"]},  // four runs
    "runs": {"sft": {"objective.rank_loss": "none"}, "as it is": {}},
    "seeds": [3, 1]
  })");
  EXPECT_EQ(names(read), (Lines{"rank_weight=0,recipe=default", "rank_weight=0,recipe=paper",
                                "rank_weight=2.5,recipe=default", "rank_weight=2.5,recipe=paper", "sft", "as it is"}));
  EXPECT_EQ(read.runs[1].config.objective.rank_weight, 0);
  EXPECT_EQ(read.runs[1].config.objective.sft_reduction, SftReduction::sum);  // what the recipe paper sets
  EXPECT_EQ(read.runs[2].config.objective.rank_weight, 2.5);
  EXPECT_EQ(read.runs[4].config.objective.rank_loss, "none");
  EXPECT_EQ(read.runs[4].changes.dump(), R"({"objective.rank_loss":"none"})");
  for (const GridRun& run : read.runs) {
    EXPECT_EQ(run.config.train.epochs, 5);
    EXPECT_EQ(run.config.model.path, "start");
  }
  EXPECT_EQ(read.seeds, (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(read.output, "runs/my-grid");
}

TEST_F(GridTest, TakesSettingsInSectionsAndConfigsOfThreeKinds) {
  const std::string rest = R"("runs": {"a": {"objective": {"rank_weight": 3, "sft_weight": 2}}}})";
  const std::string here =
      R"({"config": {"data": {"train": "a.jsonl", "eval_fraction": 0.25}, "train": {"epochs": 2, "seed": 7}}, )";
  for (const std::string& text : {R"({"config": "BASE", )" + rest, R"({"preset": "base", )" + rest, here + rest}) {
    const Grid read = grid(text);
    ASSERT_EQ(read.runs.size(), 1u) << text;
    EXPECT_EQ(read.runs[0].config.objective.rank_weight, 3);
    EXPECT_EQ(read.runs[0].config.objective.sft_weight, 2);
    EXPECT_EQ(read.runs[0].config.train.epochs, 2);
    EXPECT_EQ(read.runs[0].changes.dump(), R"({"objective.rank_weight":3,"objective.sft_weight":2})");
  }
}

TEST_F(GridTest, MeasuresByTheConfigWithWhatMeasureSays) {
  const Grid read = grid(R"({"config": "BASE", "runs": {"padded": {"objective.normalization": "padded"}},
                             "measure": {"objective.normalization": "none", "data.eval": "test.jsonl"}})");
  EXPECT_EQ(read.measured.objective.normalization, Normalization::none);
  EXPECT_EQ(read.measured.data.eval, Lines{"test.jsonl"});
  EXPECT_EQ(read.runs[0].config.objective.normalization, Normalization::padded);
  EXPECT_TRUE(read.runs[0].config.data.eval.empty());
}

TEST_F(GridTest, TheCommandLineSetsWhatAllRunsHaveAndTheOutput) {
  const Grid read = grid(R"({"config": "BASE", "set": {"train.epochs": 5}, "runs": {"a": {}}, "output": "there"})",
                         {{"train.epochs", "9"}, {"output", "here"}});
  EXPECT_EQ(read.runs[0].config.train.epochs, 9);
  EXPECT_EQ(read.measured.train.epochs, 9);
  EXPECT_EQ(read.output, "here");
  for (const char* word : {"here", "\"here\"", "here/", "here//"}) {
    EXPECT_EQ(grid(R"({"config": "BASE", "runs": {"a": {}}})", {{"output", word}}).output, "here") << word;
  }
}

TEST_F(GridTest, IsWrittenOutAsAGridThatNeedsNoOtherFile) {
  const Grid read = grid(R"({"config": "BASE", "vary": {"optimizer.learning_rate": [1e-3, 1e-5]}, "seeds": [1, 2],
                             "runs": {"sft": {"objective.rank_loss": "none"}, "released": {"recipe": "released"}},
                             "measure": {"objective.normalization": "none"}})");
  fs::remove(folder_ / "base.json");
  const Grid again = grid(read.resolved.dump());
  EXPECT_EQ(names(again), names(read));
  for (std::size_t i = 0; i < read.runs.size(); ++i) {
    // A file's `output` is none of a grid's business, which gives every run a folder.
    RunConfig config = again.runs[i].config;
    config.output = read.runs[i].config.output;
    EXPECT_EQ(config, read.runs[i].config);
  }
  EXPECT_EQ(again.measured.objective, read.measured.objective);
  EXPECT_EQ(again.seeds, read.seeds);
  EXPECT_EQ(again.output, "runs/my-grid");
}

TEST_F(GridTest, NamesEveryMistakeOfTheFileAtOnce) {
  const std::string no_name =
      R"(can't be a run's name, which is a folder's: no "/", no "." in front, at most 100 bytes, none of start, )"
      "grid.json, sources.json, results.jsonl, report.html";
  EXPECT_EQ(
      mistakes(R"({"seed": [1], "runs": {"a/b": {}, "start": {}, ".a": {}, "": {}, "report.html": {}, "c": 3},
                         "vary": {"objective.rank_weight": 3, "train.epochs": [], "data": [{"eval": "a"}]},
                         "seeds": [1, 1, -2, 1.5, "x", 9223372036854775808], "set": []})"),
      (Lines{
          R"([grid] GRID: "seed" is not a key of a grid; nearest: "seeds". Keys: config, preset, set, vary, runs, )"
          "seeds, measure, output",
          "GRID: runs: \"a/b\" " + no_name,
          "GRID: runs: \"start\" " + no_name,
          "GRID: runs: \".a\" " + no_name,
          "GRID: runs: \"\" " + no_name,
          "GRID: runs: \"report.html\" " + no_name,
          R"x(GRID: runs.c must be an object, {"key.path": value}; found the number 3)x",
          "GRID: vary.objective.rank_weight must be an array of values; found the number 3",
          "GRID: vary.train.epochs must be an array of values; found an empty one",
          R"(GRID: vary.data is a section; vary its settings, "data.NAME": [...])",
          "GRID: seeds: 1 is there twice",
          "GRID: seeds: -2 is not a whole number from 0 to 2^63 - 1",
          "GRID: seeds: 1.5 is not a whole number from 0 to 2^63 - 1",
          "GRID: seeds: \"x\" is not a whole number from 0 to 2^63 - 1",
          "GRID: seeds: 9223372036854775808 is not a whole number from 0 to 2^63 - 1",
          R"x(GRID: "set" must be an object, {"key.path": value}; found an array of 0)x",
          R"(GRID: names no config: "config" is a config file's path or an object of settings, "preset" a name)",
      }));
}

TEST_F(GridTest, RefusesWhatNoSettingTakesByItsPlace) {
  EXPECT_EQ(mistakes(R"({"config": "BASE", "vary": {"optimizer.learning_rate": [1e999, NaN]}, "output": "a\u0000b",
                         "runs": {"a": {"data": {"template": "x\u0000"}}}})"),
            (Lines{
                "[grid] GRID: vary.optimizer.learning_rate is Infinity (or beyond what a double holds), which is no "
                "finite number",
                "GRID: output has the character U+0000 in it",
                "GRID: runs.a.data.template has the character U+0000 in it",
            }));
}

TEST_F(GridTest, RefusesAKeyThatIsGivenTwice) {
  EXPECT_EQ(mistakes(R"({"config": "BASE", "set": {"train.epochs": 1, "train": {"epochs": 2}}, "runs": {"a": {}}})"),
            Lines{"[grid] GRID: set: train.epochs is given twice"});
}

TEST_F(GridTest, NeedsARun) {
  for (const char* none : {"", R"(, "runs": {})", R"(, "vary": {})"}) {
    const Lines refused = mistakes(R"({"config": "BASE")" + std::string(none) + "}");
    ASSERT_EQ(refused.size(), 1u) << none;
    EXPECT_TRUE(refused[0].starts_with("[grid] GRID: has no runs; they are written as ")) << refused[0];
  }
}

TEST_F(GridTest, RefusesTooManyCombinations) {
  std::string values = "[0";
  for (int i = 1; i < 40; ++i) values += fmt::format(", {}", i);
  values += "]";
  EXPECT_EQ(mistakes(R"({"config": "BASE", "vary": {"objective.rank_weight": )" + values +
                     R"(, "objective.sft_weight": )" + values + "}}"),
            Lines{"[grid] GRID: vary has more than 1000 combinations"});
}

TEST_F(GridTest, RefusesWhatWouldHaveNoEffect) {
  const std::string text = R"({"config": "BASE", "set": {"train.seed": 3, "train.epochs": 3},
                               "vary": {"train.epochs": [1, 2]}, "seeds": [1]})";
  EXPECT_EQ(mistakes(text), (Lines{R"([grid] GRID: set: train.seed has no effect, since "seeds" sets it)",
                                   R"([grid] GRID: set: train.epochs has no effect, since "vary" sets it)"}));
  for (const Override& override : {Override{"train.epochs", "3"}, Override{"train", R"({"epochs": 3})"}}) {
    EXPECT_THROW(grid(R"({"config": "BASE", "vary": {"train.epochs": [1, 2]}})", {override}), InputError);
  }
}

TEST_F(GridTest, NamesEveryMistakeOfTheSettingsOnce) {
  EXPECT_EQ(
      mistakes(R"({"config": "BASE", "vary": {"objective.rank_weight": [1, -1], "train.epochs": [1, 2]},
                   "runs": {"a": {"train.epoch": 3}}, "measure": {"train.epochs": 3}})"),
      (Lines{
          "[grid] GRID: measure: train.epochs is not of the measuring: \"measure\" takes objective.*, data.eval, "
          "data.responses and data.max_length",
          "[config] GRID: vary: objective.rank_weight must be a number, at least 0; found the number -1",
          "[config] GRID: runs.a: train.epoch is not a setting; nearest: train.epochs. Settings of train: epochs, "
          "max_steps, queries_per_step, tokens_per_pack, seed, order, epoch_end, recompute, layer_inputs, gradients, "
          "deterministic",
      }));
}

TEST_F(GridTest, RefusesSettingsInWhichRunsCannotDiffer) {
  const std::string start = "[grid] GRID: runs.a: ";
  const std::string held_out =
      R"(what it holds out would differ among the runs; name rows to measure by in data.eval, or in "measure")";
  for (const auto& [key, why] : std::vector<std::pair<std::string, std::string>>{
           {"output", "every run has a folder of its own under the grid's \"output\""},
           {"train.seed", "the seeds of all runs stand in \"seeds\""},
           {"data.eval", "all models are measured on the same rows; \"measure\" may name others than the config"},
           {"data.train", held_out},
           {"data.eval_fraction", held_out},
           {"sample.top_p", "sample is of rrhf iterate, and no training takes notice of it"},
           {"score.rule", "score is of rrhf iterate, and no training takes notice of it"},
           {"iterate.rounds", "iterate is of rrhf iterate, and no training takes notice of it"}}) {
    EXPECT_EQ(mistakes(R"({"config": "BASE", "runs": {"a": {")" + key + R"(": 0.5}}})"),
              Lines{start + key + " can't differ: " + why});
  }
  EXPECT_EQ(names(grid(R"({"config": "BASE", "set": {"data.eval": "b"}, "runs": {"a": {"data.train": "c.jsonl"}}})")),
            Lines{"a"});
  EXPECT_EQ(names(grid(R"({"config": "BASE", "measure": {"data.eval": "b"}, "runs": {"a": {"data.train": "c"}}})")),
            Lines{"a"});
  // what all are measured by has none, though the config has
  EXPECT_EQ(mistakes(R"({"config": "BASE", "set": {"data.eval": "b"}, "measure": {"data.eval": []},
                         "runs": {"a": {"data.eval_fraction": 0.5}}})"),
            Lines{start + "data.eval_fraction can't differ: " + held_out});
  EXPECT_EQ(mistakes(R"({"config": "BASE", "set": {"output": "x"}, "runs": {"a": {}}})"),
            Lines{R"([grid] GRID: set: "output" is a key of the grid itself)"});
}

TEST_F(GridTest, RefusesRunsThatAreTheSame) {
  const Lines twice =
      mistakes(R"({"config": "BASE", "vary": {"train.epochs": [2, 3, 3.0]}, "runs": {"as it is": {}}})");
  ASSERT_EQ(twice.size(), 2u);
  EXPECT_TRUE(twice[0].starts_with("[grid] GRID: epochs=3 and epochs=3-")) << twice[0];
  EXPECT_EQ(twice[1], "GRID: epochs=2 and as it is are the same settings");
  EXPECT_EQ(mistakes(R"({"config": "BASE", "vary": {"train.epochs": [3]}, "runs": {"epochs=3": {"train.epochs": 4}}})"),
            Lines{"[grid] GRID: runs.epochs=3: there is another run of the name epochs=3"});
}

// The first keeps its name; a later one is told apart, by what it sets alone, whatever stands before it.
TEST_F(GridTest, TellsCombinationsOfOneNameApart) {
  const auto named = [&](const std::string& files) {
    return names(grid(R"({"config": "BASE", "set": {"data.eval": "e"}, "vary": {"data.train": )" + files + "}}"));
  };
  const Lines three = named(R"(["q/x-3.jsonl", "a/x.jsonl", "b/x.jsonl"])");
  EXPECT_EQ(three[0], "train=x-3");
  EXPECT_EQ(three[1], "train=x");
  EXPECT_EQ(three[2].size(), std::string("train=x-12345678").size());
  EXPECT_EQ(named(R"(["a/x.jsonl", "c/x.jsonl", "b/x.jsonl"])")[2], three[2]);
}

TEST_F(GridTest, RefusesRunsWhoseSettingsDoNotGoTogetherByName) {
  EXPECT_EQ(mistakes(R"({"config": "BASE", "runs": {"narrow": {"optimizer.masters": "none"}, "well": {}}})"),
            Lines{"[grid] GRID: narrow: optimizer.masters none needs model.dtype bfloat16; it is float32"});
}

TEST_F(GridTest, NeedsRowsToMeasureBy) {
  const Lines refused = mistakes(R"({"config": {"data": {"train": "a.jsonl"}}, "runs": {"a": {}}})");
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_TRUE(refused[0].starts_with("[grid] GRID: there is nothing to measure the models by")) << refused[0];
  grid(R"({"config": {"data": {"train": "a.jsonl"}}, "runs": {"a": {}}, "measure": {"data.eval": "b.jsonl"}})");
}

TEST_F(GridTest, WarnsOfEachMixtureOnce) {
  const Grid read = grid(R"({"config": "BASE", "set": {"recipe": "released", "objective.sft_reduction": "mean"},
                             "runs": {"a": {}, "b": {"train.epochs": 9}, "c": {"train.order": "shuffled"},
                                      "d": {"train.order": "shuffled", "train.epochs": 9}}})");
  ASSERT_EQ(read.warnings.size(), 2u);
  EXPECT_TRUE(read.warnings[1].starts_with("c and 1 more: ")) << read.warnings[1];
}

TEST(CombinationName, IsAFoldersName) {
  EXPECT_EQ(combination_name({{"optimizer.learning_rate", 2e-5}, {"train.epochs", 3}}), "learning_rate=2e-05,epochs=3");
  EXPECT_EQ(combination_name({{"data.template", "my templates/of mine.txt"}}), "template=of_mine");
  EXPECT_EQ(combination_name({{"data.train", {"x/a.jsonl", "b.json"}}, {"data.shuffle", false}}),
            "train=a+b.json,shuffle=false");
  // two keys that end alike
  EXPECT_EQ(combination_name({{"optimizer.name", "adamw"}, {"schedule.name", "linear"}}),
            "optimizer.name=adamw,schedule.name=linear");
  EXPECT_EQ(combination_name({{"model.path", "runs/sft/model"}, {"data.template", "a/b/"}}), "path=sft,template=b");
  EXPECT_EQ(combination_name({{"data.template", std::string(500, 'x')}}), "template=" + std::string(40, 'x'));
  Json many;
  for (char key = 'a'; key < 'p'; ++key) many[std::string("data.") + key] = 123456789;
  EXPECT_EQ(combination_name(many).size(), 100u);
  many["data.a"] = 0;
  many["data.o"] = 5;  // behind what the name has room for
  const std::string name = combination_name(many);
  many["data.o"] = 6;
  EXPECT_NE(combination_name(many), name);
}

}  // namespace
}  // namespace rrhf::config
