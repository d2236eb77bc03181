#include "rrhf/workflow/measurement.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "rrhf/core/file.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::RunConfig;

RunConfig measure() {
  RunConfig config;
  config.model.path = "start";
  config.data.train = {"train.jsonl"};
  config.data.eval_fraction = 0.25;
  config.train.seed = 1;
  return config;
}

RunConfig run() {
  RunConfig config = measure();
  config.model.path = "other";
  config.model.dtype = Dtype::bfloat16;
  config.data.template_name = "alpaca";
  config.data.encoding = Encoding::released;
  config.data.bos_token = BosToken::eos;
  config.data.special_tokens = SpecialText::plain;
  config.data.max_length = 64;
  config.data.responses = ResponseChoice::sampled;
  config.objective.normalization = Normalization::padded;
  config.objective.rank_loss = "none";
  config.train.seed = 5;
  config.output = "runs/a";
  return config;
}

TEST(MeasureOfRun, TakesTheLayoutOfTheRunAndTheMeasureOfTheGrid) {
  RunConfig expected = measure();
  expected.model.path = "other";
  expected.data.template_name = "alpaca";
  expected.data.encoding = Encoding::released;
  expected.data.bos_token = BosToken::eos;
  expected.data.special_tokens = SpecialText::plain;
  expected.train.seed = 5;  // held out by the run's seed, which therefore was not trained on
  EXPECT_EQ(measure_of_run(measure(), run()), expected);
}

TEST(MeasureOfRun, IsOneForAllSeedsWhereRowsAreNamed) {
  RunConfig named = measure();
  named.data.eval = {"test.jsonl"};
  const RunConfig measured = measure_of_run(named, run());
  EXPECT_EQ(measured.train.seed, 1);
  EXPECT_TRUE(measured.data.train.empty());
  EXPECT_EQ(measured.data.eval_fraction, 0);
  RunConfig random = run();
  random.model.random_init = true;  // a start of its own for each seed
  EXPECT_EQ(measure_of_run(named, random).train.seed, 5);
}

class MeasurementTest : public testing::Test {
 protected:
  MeasurementTest() { fs::remove_all(folder_); }
  ~MeasurementTest() override { fs::remove_all(folder_); }
  void take() const { std::ofstream(folder_ / "figures.json") << R"({"queries": 2})"; }

  const fs::path folder_ = fs::path(testing::TempDir()) / fmt::format("rrhf-measurement-test-{}", ::getpid());
};

const Json files{{"data train.jsonl", "1f"}};

TEST_F(MeasurementTest, HasFiguresThatWereTakenOfTheSame) {
  const Measurement measurement(folder_, measure(), files);
  EXPECT_FALSE(measurement.figures());
  measurement.prepare();
  EXPECT_FALSE(measurement.figures());
  take();
  EXPECT_EQ(measurement.figures(), Json({{"queries", 2}}));
  measurement.prepare();  // again: they stay
  EXPECT_TRUE(measurement.figures());
}

TEST_F(MeasurementTest, DropsFiguresOfOtherSettingsFilesOrDraws) {
  Measurement(folder_, measure(), files).prepare();
  take();
  RunConfig score = measure(), seed = measure(), path = measure();
  score.objective.normalization = Normalization::none;
  seed.train.seed = 2;  // holds out other rows
  path.model.path = "another";
  for (const Measurement& other :
       {Measurement(folder_, score, files), Measurement(folder_, seed, files), Measurement(folder_, path, files),
        Measurement(folder_, measure(), {{"data train.jsonl", "2e"}})}) {
    EXPECT_FALSE(other.figures());
  }
  Measurement(folder_, score, files).prepare();
  EXPECT_FALSE(path_exists(folder_ / "figures.json"));
}

TEST_F(MeasurementTest, KeepsFiguresOfSettingsThatDecideNothing) {
  RunConfig config = measure();
  config.data.eval = {"test.jsonl"};
  Measurement(folder_, config, files).prepare();
  take();
  config.train.tokens_per_pack = 1000;
  config.checkpoint.keep = 9;
  config.optimizer.learning_rate = 3;
  config.device = DeviceChoice::cpu;
  config.data.cache = "off";
  config.train.seed = 7;  // rows are named, none are drawn
  EXPECT_TRUE(Measurement(folder_, config, files).figures());
  // a file that is gone tells nothing
  EXPECT_TRUE(Measurement(folder_, config, {{"data train.jsonl", nullptr}}).figures());
}

TEST_F(MeasurementTest, MayHaveMovedWithItsTraining) {
  const fs::path before = folder_ / "a", after = folder_ / "b";
  RunConfig config = measure();
  config.model.path = (before / "model").string();
  Measurement(before / "measured", config, files).prepare();
  std::ofstream(before / "measured" / "figures.json") << R"({"queries": 2})";
  fs::rename(before, after);
  config.model.path = (after / "model").string();
  EXPECT_TRUE(Measurement(after / "measured", config, files).figures());
}

TEST_F(MeasurementTest, TakesBrokenFiguresForNone) {
  const Measurement measurement(folder_, measure(), files);
  measurement.prepare();
  for (const char* text : {"xx", "[]", "{}", ""}) {
    std::ofstream(folder_ / "figures.json") << text;
    EXPECT_FALSE(measurement.figures()) << text;
  }
  take();
  std::ofstream(folder_ / "of.json") << "[1]";
  EXPECT_FALSE(measurement.figures());
}

}  // namespace
}  // namespace rrhf::workflow
