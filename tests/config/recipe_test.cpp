#include <gtest/gtest.h>

#include "rrhf/config/recipe.h"
#include "rrhf/config/run_config.h"

namespace rrhf::config {
namespace {

Resolved resolved(std::string_view text) { return resolve(text, "run.json", {}, {"rrhf", "none"}); }

TEST(Recipe, PaperSumsTheSftLoss) {
  RunConfig expected;
  expected.recipe = Recipe::paper;
  expected.objective.sft_reduction = SftReduction::sum;
  EXPECT_EQ(resolved(R"({"recipe": "paper"})").config, expected);
}

TEST(Recipe, ReleasedSetsAllFiveKeys) {
  RunConfig expected;
  expected.recipe = Recipe::released;
  expected.data.encoding = Encoding::released;
  expected.objective.normalization = Normalization::padded;
  expected.objective.sft_reduction = SftReduction::padded;
  expected.train.order = RowOrder::released;
  expected.train.epoch_end = EpochEnd::carry;
  const Resolved result = resolved(R"({"recipe": "released"})");
  EXPECT_EQ(result.config, expected);
  EXPECT_TRUE(result.warnings.empty());
}

TEST(Recipe, YieldsToAKeyGivenExplicitlyWhereverItStands) {
  const auto config = resolved(R"({"objective": {"normalization": "none"}, "recipe": "released"})").config;
  EXPECT_EQ(config.objective.normalization, Normalization::none);
  EXPECT_EQ(config.objective.sft_reduction, SftReduction::padded);
}

TEST(Recipe, IsTakenFromAnOverride) {
  const auto config = resolve("{\"recipe\": \"released\"}", "run.json", {{"recipe", "paper"}}, {}).config;
  EXPECT_EQ(config.recipe, Recipe::paper);
  EXPECT_EQ(config.data.encoding, Encoding::plain);
  EXPECT_EQ(config.objective.sft_reduction, SftReduction::sum);
}

TEST(Recipe, WarnsOnceOfAMixture) {
  const Resolved result =
      resolved(R"({"recipe": "released", "objective": {"normalization": "response"}, "train": {"epoch_end": "step"}})");
  ASSERT_EQ(result.warnings.size(), 1u);
  EXPECT_EQ(result.warnings[0],
            "recipe released is mixed with other settings: objective.normalization is response (the recipe's: padded), "
            "train.epoch_end is step (the recipe's: carry)");
}

TEST(Recipe, DoesNotWarnWhenAKeySaysWhatTheRecipeSays) {
  EXPECT_TRUE(resolved(R"({"recipe": "released", "objective": {"normalization": "padded"}})").warnings.empty());
}

TEST(Recipe, DoesNotWarnOfSettingsThatNoRecipeChooses) {
  EXPECT_TRUE(resolved(R"({"recipe": "released", "train": {"epochs": 1}})").warnings.empty());
}

TEST(Recipe, DoesNotWarnBesideTheDefault) {
  EXPECT_TRUE(resolved(R"({"data": {"encoding": "released"}})").warnings.empty());
}

}  // namespace
}  // namespace rrhf::config
