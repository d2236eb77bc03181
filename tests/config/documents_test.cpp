// What stands in docs/ and configs/ agrees with the code.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "rrhf/config/options.h"
#include "rrhf/config/run_config.h"
#include "rrhf/core/file.h"

namespace rrhf::config {
namespace {

const std::filesystem::path source = RRHF_SOURCE_DIR;

TEST(ConfigReference, IsCurrent) {
  const auto path = source / "docs" / "config.md";
  if (std::getenv("RRHF_UPDATE_DOCS")) write_file_atomically(path, reference_markdown());
  EXPECT_EQ(read_file(path), reference_markdown())
      << "docs/config.md is out of date: run this test with RRHF_UPDATE_DOCS=1 to write it anew";
}

TEST(ConfigReference, ShowsEverySettingOnce) {
  RunConfig config;
  const std::string page = reference_markdown();
  for (const Option& option : options_of(config)) {
    const std::string row = "\n| `" + std::string(option.key) + "` | " + option.value.kind.substr(0, 4);
    const auto first = page.find(row);
    ASSERT_NE(first, std::string::npos) << option.key;
    EXPECT_EQ(page.find(row, first + 1), std::string::npos) << option.key;
  }
}

TEST(ConfigReference, HoldsAnExampleThatResolves) {
  const std::string page = reference_markdown();
  const auto begin = page.find("```json\n") + 8;
  const auto result = resolve(page.substr(begin, page.find("```", begin) - begin), "docs/config.md", {}, {"rrhf"});
  EXPECT_EQ(result.config.data.train.size(), 2u);
}

TEST(Options, AreDeclaredOnceInAKnownSectionWithHelp) {
  RunConfig config;
  std::set<std::string_view> keys, known{""};
  for (const Section& section : sections()) known.insert(section.name);
  for (const Option& option : options_of(config)) {
    EXPECT_TRUE(keys.insert(option.key).second) << option.key;
    EXPECT_TRUE(known.count(section_of(option.key))) << option.key;
    EXPECT_TRUE(option.help.size() > 10 && option.help.back() == '.') << option.key;
    EXPECT_TRUE(option.value.read(option.value.write())) << option.key << " refuses its own default";
  }
}

TEST(Configs, ResolveWithoutWarning) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source / "configs")) {
    if (!entry.is_regular_file() || entry.path().extension() != ".json") continue;
    ++count;
    Resolved result;
    ASSERT_NO_THROW(result = resolve_file(entry.path(), {}, {"rrhf", "none"})) << entry.path();
    EXPECT_TRUE(result.warnings.empty()) << entry.path();
    EXPECT_EQ(result.config.output, "runs/" + entry.path().stem().string());
  }
  EXPECT_GE(count, 4u);
}

TEST(Configs, OfThePaperAreRoundsOfDp) {
  const Resolved paper = resolve_file(source / "configs" / "paper" / "rrhf.json", {}, {"rrhf", "none"});
  EXPECT_TRUE(paper.warnings.empty());
  DecodingOptions expected = sampling_preset("dp")->decoding;
  expected.max_new_tokens = paper.config.sample.decoding.max_new_tokens;
  EXPECT_EQ(paper.config.sample.decoding, expected);
  EXPECT_EQ(paper.config.iterate.keep, KeptResponses::provided);
}

// The settings all three presets share with the authors' scripts.
RunConfig released_base(std::string_view name) {
  RunConfig config;
  config.recipe = Recipe::released;
  config.model.dtype = Dtype::bfloat16;
  config.data.encoding = Encoding::released;
  config.objective.normalization = Normalization::padded;
  config.objective.sft_reduction = SftReduction::padded;
  config.train.order = RowOrder::released;
  config.train.epoch_end = EpochEnd::carry;
  config.output = "runs/" + std::string(name);
  return config;
}

RunConfig preset(std::string_view name) {
  return resolve_file(source / "configs" / (std::string(name) + ".json"), {}, {"rrhf", "none"}).config;
}

TEST(Configs, WombatSplitsTheQueryIntoTheAlpacaPrompt) {
  RunConfig expected = released_base("wombat-7b");
  expected.data.template_name = "alpaca-split";
  EXPECT_EQ(preset("wombat-7b"), expected);
}

TEST(Configs, WombatGpt4TakesTheQueryAsItIs) { EXPECT_EQ(preset("wombat-7b-gpt4"), released_base("wombat-7b-gpt4")); }

TEST(Configs, HhIsShorter) {
  RunConfig expected = released_base("hh-rrhf-dp");
  expected.data.max_length = 192;
  EXPECT_EQ(preset("hh-rrhf-dp"), expected);
}

}  // namespace
}  // namespace rrhf::config
