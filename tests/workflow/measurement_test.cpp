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
  void take() const { std::ofstream(folder_ / "figures.json") << R"({"loss": 2})"; }

  const fs::path folder_ = fs::path(testing::TempDir()) / fmt::format("rrhf-measurement-test-{}", ::getpid());
};

TEST_F(MeasurementTest, HasFiguresThatWereTakenUnderItsSettings) {
  const Measurement measurement(folder_, measure());
  EXPECT_FALSE(measurement.figures());
  measurement.prepare();
  EXPECT_FALSE(measurement.figures());
  take();
  EXPECT_EQ(measurement.figures(), Json({{"loss", 2}}));
  measurement.prepare();  // again: they stay
  EXPECT_TRUE(measurement.figures());
}

TEST_F(MeasurementTest, DropsFiguresOfOtherSettings) {
  Measurement(folder_, measure()).prepare();
  take();
  RunConfig other = measure();
  other.objective.normalization = Normalization::none;
  const Measurement measurement(folder_, other);
  EXPECT_FALSE(measurement.figures());
  measurement.prepare();
  EXPECT_FALSE(path_exists(folder_ / "figures.json"));
}

}  // namespace
}  // namespace rrhf::workflow
