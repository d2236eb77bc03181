#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "rrhf/config/options.h"
#include "rrhf/config/run_config.h"
#include "rrhf/core/error.h"

namespace rrhf::config {
namespace {

const std::vector<std::string> rank_losses{"rrhf", "none"};

RunConfig config_of(std::string_view text, const std::vector<Override>& overrides = {}) {
  return resolve(text, "run.json", overrides, rank_losses).config;
}

RunConfig set(std::vector<std::string> arguments) {
  std::vector<Override> overrides;
  for (const std::string& argument : arguments) overrides.push_back(parse_override(argument));
  return config_of("", overrides);
}

TEST(Resolve, GivesTheDocumentedDefaultsForAnEmptyText) {
  const RunConfig config = config_of("");
  EXPECT_EQ(config, RunConfig());
  EXPECT_EQ(config.recipe, Recipe::standard);
  EXPECT_EQ(config.device, DeviceChoice::automatic);
  EXPECT_EQ(config.model.dtype, Dtype::float32);
  EXPECT_EQ(config.data.max_length, 512);
  EXPECT_EQ(config.data.encoding, Encoding::plain);
  EXPECT_EQ(config.data.template_name, "none");
  EXPECT_TRUE(config.data.shuffle);
  EXPECT_EQ(config.objective.rank_loss, "rrhf");
  EXPECT_EQ(config.objective.normalization, Normalization::response);
  EXPECT_EQ(config.objective.sft_reduction, SftReduction::mean);
  EXPECT_EQ(config.optimizer.learning_rate, 2e-5);
  EXPECT_EQ(config.optimizer.betas, (std::array{0.9, 0.999}));
  EXPECT_EQ(config.optimizer.epsilon, 1e-8);
  EXPECT_EQ(config.optimizer.max_grad_norm, 1);
  EXPECT_EQ(config.schedule.name, ScheduleName::cosine);
  EXPECT_EQ(config.schedule.warmup_ratio, 0.03);
  EXPECT_EQ(config.train.epochs, 3);
  EXPECT_EQ(config.train.max_steps, std::nullopt);
  EXPECT_EQ(config.train.queries_per_step, 64);
  EXPECT_EQ(config.train.tokens_per_pack, std::nullopt);
  EXPECT_EQ(config.train.seed, 42);
  EXPECT_EQ(config.checkpoint.keep, 3);
}

TEST(Resolve, TakesBlankTextsAsEmpty) {
  for (const char* text : {"{}", " \n\t", "// nothing yet\n", "/* nothing\n yet */ {} // but this"}) {
    EXPECT_EQ(config_of(text), RunConfig()) << text;
  }
}

// A text may be left out; a file that holds nothing was hardly meant so.
TEST(Resolve, RefusesAnEmptyFile) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("rrhf-empty-{}.json", ::getpid());
  for (const char* text : {"", " \n", "// nothing yet\n"}) {
    std::ofstream(path) << text;
    EXPECT_THROW(resolve_file(path, {}, rank_losses), InputError) << text;
  }
  std::ofstream(path) << "{}";
  EXPECT_NO_THROW(resolve_file(path, {}, rank_losses));
  std::filesystem::remove(path);
}

TEST(Resolve, ReadsEveryKindOfValue) {
  const RunConfig config = config_of(R"({
    "device": "cpu",                              // a word
    "model": {"path": "alpaca", "random_init": true},
    "data": {"train": "a.jsonl", "eval": ["b.jsonl", "c.gz"], "eval_fraction": 0.25},
    "optimizer": {"betas": [0.8, 0.95], "learning_rate": 0},
    "train": {"epochs": 2.0, "max_steps": 2e4, "tokens_per_pack": 8192}
  })");
  EXPECT_EQ(config.device, DeviceChoice::cpu);
  EXPECT_EQ(config.model.path, "alpaca");
  EXPECT_TRUE(config.model.random_init);
  EXPECT_EQ(config.data.train, std::vector<std::string>{"a.jsonl"});
  EXPECT_EQ(config.data.eval, (std::vector<std::string>{"b.jsonl", "c.gz"}));
  EXPECT_EQ(config.data.eval_fraction, 0.25);
  EXPECT_EQ(config.optimizer.betas, (std::array{0.8, 0.95}));
  EXPECT_EQ(config.optimizer.learning_rate, 0);
  EXPECT_EQ(config.train.epochs, 2);
  EXPECT_EQ(config.train.max_steps, 20000);
  EXPECT_EQ(config.train.tokens_per_pack, 8192);
}

TEST(Resolve, TakesTheWordAndNullForWhatIsNotGiven) {
  const std::vector<Override> some{{"train.max_steps", "5"}, {"train.tokens_per_pack", "100"}};
  EXPECT_EQ(config_of("", some).train.max_steps, 5);
  for (const char* text : {R"({"train": {"max_steps": null, "tokens_per_pack": null}})",
                           R"({"train": {"max_steps": "none", "tokens_per_pack": "auto"}})"}) {
    EXPECT_EQ(config_of(text), RunConfig()) << text;
  }
}

TEST(Resolve, TakesDottedKeysToo) { EXPECT_EQ(config_of(R"({"data.max_length": 192})").data.max_length, 192); }

TEST(Resolve, LetsOverridesWinInTheirOrder) {
  const RunConfig config =
      config_of(R"({"train": {"epochs": 5, "seed": 1}})", {{"train.epochs", "7"}, {"train.epochs", "9"}});
  EXPECT_EQ(config.train.epochs, 9);
  EXPECT_EQ(config.train.seed, 1);
}

TEST(Resolve, ReadsOverridesAsJsonOrText) {
  EXPECT_EQ(set({"data.template=alpaca-split"}).data.template_name, "alpaca-split");
  EXPECT_EQ(set({"data.template=\"alpaca\""}).data.template_name, "alpaca");
  EXPECT_EQ(set({"optimizer.learning_rate=1e-5"}).optimizer.learning_rate, 1e-5);
  EXPECT_EQ(set({"data.train=[a.jsonl, b.jsonl]"}).data.train, (std::vector<std::string>{"a.jsonl", "b.jsonl"}));
  EXPECT_EQ(set({"data.train=[\"a,b.jsonl\"]"}).data.train, std::vector<std::string>{"a,b.jsonl"});
  EXPECT_EQ(set({"model.path=models/a=b"}).model.path, "models/a=b");
  EXPECT_EQ(set({"optimizer.betas=[0.5,0.25]"}).optimizer.betas, (std::array{0.5, 0.25}));
}

TEST(Resolve, TakesNothingAfterTheEqualsSignAsTheEmptyText) {
  EXPECT_EQ(set({"model.path=x", "model.path="}).model.path, "");
  EXPECT_TRUE(set({"data.eval=x", "data.eval="}).data.eval.empty());
}

TEST(Resolve, MergesAnOverrideOfAWholeSection) {
  const RunConfig config = config_of(R"({"data": {"max_length": 100}})", {{"data", R"({"train": "x"})"}});
  EXPECT_EQ(config.data.train, std::vector<std::string>{"x"});
  EXPECT_EQ(config.data.max_length, 100);
}

TEST(Resolve, TakesASamplingPresetUnderWhatIsGiven) {
  EXPECT_EQ(config_of("").sample.decoding, sampling_defaults());
  EXPECT_EQ(config_of("").sample.max_prompt_tokens, std::nullopt);
  const RunConfig config = config_of(R"({"sample": {"top_p": 0.5, "preset": "sp", "responses": 6}})");
  EXPECT_EQ(config.sample.decoding.method, DecodingMethod::top_p);
  EXPECT_EQ(config.sample.decoding.temperature, 0.8);
  EXPECT_EQ(config.sample.decoding.top_p, 0.5);
  EXPECT_EQ(config.sample.decoding.answers, 6);
  EXPECT_EQ(config.sample.max_prompt_tokens, 256);
  EXPECT_EQ(set({"sample.seed=18446744073709551615", "sample.stop=Human:"}).sample.decoding.stop,
            std::vector<std::string>{"Human:"});
}

TEST(Resolve, TakesAListOfWordsEachOnce) {
  const auto modules = [&](const std::string& list) { return set({"lora.modules=" + list}).lora.modules; };
  // In their own order, whatever order they are given in.
  EXPECT_EQ(modules("[down_proj,q_proj]"), (std::vector{Projection::q_proj, Projection::down_proj}));
  for (const char* wrong : {"[]", "[q_proj,q_proj]", "[q_proj,lm_head]", "q_proj", "[1]", "null"}) {
    EXPECT_THROW(modules(wrong), InputError) << wrong;
  }
  EXPECT_FALSE(RunConfig().lora.rank);
  EXPECT_EQ(set({"lora.rank=8"}).lora.rank, 8);
  EXPECT_EQ(set({"lora.rank=8", "lora.rank=none"}).lora.rank, std::nullopt);
  EXPECT_THROW(set({"lora.rank=0"}), InputError);
  EXPECT_THROW(set({"lora.alpha=0"}), InputError);
}

TEST(Resolve, SplitsOverridesAtTheFirstEqualsSign) {
  const Override override = parse_override("model.path=a=b");
  EXPECT_EQ(override.key, "model.path");
  EXPECT_EQ(override.value, "a=b");
}

TEST(ResolveFile, NamesTheOutputAfterTheConfig) {
  const auto path = std::filesystem::path(testing::TempDir()) / "my-run.json";
  std::ofstream(path) << R"({"train": {"seed": 7}})";
  const RunConfig config = resolve_file(path, {}, rank_losses).config;
  EXPECT_EQ(config.output, "runs/my-run");
  EXPECT_EQ(config.train.seed, 7);
  EXPECT_EQ(resolve_file(path, {{"output", "elsewhere"}}, rank_losses).config.output, "elsewhere");
}

TEST(ResolveFile, RefusesAMissingFile) {
  EXPECT_THROW(resolve_file("no/such/config.json", {}, rank_losses), InputError);
}

// Sets the option to some value other than the one it has; false when none of the samples fits.
bool change(const Option& option) {
  const Json before = option.value.write();
  const Json samples = Json::parse(
      R"([true, false, 7, 700, 0.5, [0.5, 0.25], ["a", "b c"], ["v_proj", "q_proj"], "none", "paper", "cpu", "bfloat16", "hh", "released", "eos",
          "plain", "sampled", "padded", "linear", "carry", "sum", "sharded", "layer", "gloo", "host", "apart", "sp", "beam", "some text"])");
  for (const Json& sample : samples) {
    if (option.value.read(sample) && option.value.write() != before) return true;
  }
  return false;
}

TEST(ToJson, ResolvesToTheSameConfigForEveryOption) {
  RunConfig all;
  const auto count = options_of(all).size();
  for (std::size_t i = 0; i < count; ++i) {
    RunConfig config;
    const auto options = options_of(config, rank_losses);
    // The optimizer has one name so far, and so nothing to change to.
    if (options[i].key == "optimizer.name") continue;
    ASSERT_TRUE(change(options[i])) << options[i].key;
    EXPECT_NE(config, RunConfig()) << options[i].key << " writes to no field that is compared";
    EXPECT_EQ(config_of(dump_json(to_json(config), 2)), config) << options[i].key;
    change(options_of(all, rank_losses)[i]);
  }
  EXPECT_EQ(config_of(dump_json(to_json(all))), all);
}

TEST(ToJson, NestsSettingsInTheirSections) {
  RunConfig config;
  config.data.train = {"a.jsonl"};
  const Json json = to_json(config);
  EXPECT_EQ(json["recipe"], "default");
  EXPECT_EQ(json["data"]["train"], Json::array({"a.jsonl"}));
  EXPECT_TRUE(json["train"]["max_steps"].is_null());
  EXPECT_EQ(json["train"]["tokens_per_pack"], "auto");
  EXPECT_EQ(json["optimizer"]["betas"], Json::array({0.9, 0.999}));
  EXPECT_EQ(json.begin().key(), "recipe");
}

}  // namespace
}  // namespace rrhf::config
