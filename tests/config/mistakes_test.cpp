// Every message a wrong config gives, word by word where the words are ours.
#include <gtest/gtest.h>

#include "rrhf/config/nearest.h"
#include "rrhf/config/run_config.h"
#include "rrhf/core/error.h"

namespace rrhf::config {
namespace {

std::string mistakes_of(std::string_view text, const std::vector<Override>& overrides = {}) {
  try {
    resolve(text, "run.json", overrides, {"rrhf", "none"});
  } catch (const InputError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "none";
}

// The message for one setting of a section.
std::string mistake(std::string_view section, std::string_view setting) {
  return mistakes_of(fmt::format("{{\"{}\": {{{}}}}}", section, setting));
}

constexpr std::string_view objective_settings =
    "Settings of objective: rank_loss, rank_weight, sft_weight, normalization, length_penalty, sft_reduction";

TEST(Mistakes, NamesTheNearestSetting) {
  EXPECT_EQ(
      mistake("objective", R"("normalisation": "none")"),
      fmt::format("[config] run.json:1: objective.normalisation is not a setting; nearest: objective.normalization. {}",
                  objective_settings));
}

TEST(Mistakes, FindsARightNameInTheWrongSection) {
  EXPECT_NE(
      mistake("train", R"("learning_rate": 1)").find("nearest: optimizer.learning_rate. Settings of train: epochs"),
      std::string::npos);
  EXPECT_NE(mistakes_of(R"({"max_length": 5})")
                .find("max_length is not a setting; nearest: data.max_length. Settings of data"),
            std::string::npos);
}

TEST(Mistakes, KnowsNamesUsedElsewhere) {
  for (const auto& [name, key] :
       std::vector<std::pair<std::string, std::string>>{{"lr", "optimizer.learning_rate"},
                                                        {"batch_size", "train.queries_per_step"},
                                                        {"rrhf_weight", "objective.rank_weight"},
                                                        {"num_train_epochs", "train.epochs"},
                                                        {"model_max_length", "data.max_length"}}) {
    EXPECT_NE(mistakes_of(fmt::format("{{\"{}\": 1}}", name)).find("nearest: " + key + "."), std::string::npos) << name;
  }
}

TEST(Mistakes, NamesNoNearestForAnotherWord) {
  EXPECT_EQ(mistakes_of(R"({"quux_zyxwvut": 1})").find("nearest"), std::string::npos);
  EXPECT_EQ(mistakes_of(R"({"quux_zyxwvut": {"a": 1}})"),
            "[config] run.json:1: quux_zyxwvut is not a section. Sections: model, lora, data, objective, optimizer, "
            "schedule, "
            "train, checkpoint, eval, parallel, sample, score, iterate");
}

TEST(Mistakes, ListsSettingsOutsideASectionWithTheSections) {
  EXPECT_EQ(
      mistakes_of(R"({"devise": "cpu"})"),
      "[config] run.json:1: devise is not a setting; nearest: device. Settings outside a section: recipe, device, "
      "output; sections: model, lora, data, objective, optimizer, schedule, train, checkpoint, eval, "
      "parallel, sample, score, iterate");
}

TEST(Mistakes, NamesTheNearestSection) {
  EXPECT_EQ(
      mistakes_of(R"({"objectives": {"rank_loss": "none"}})"),
      "[config] run.json:1: objectives is not a section; nearest: objective. Sections: model, lora, data, objective, "
      "optimizer, schedule, train, checkpoint, eval, parallel, sample, score, iterate");
}

TEST(Mistakes, RefusesExtrasLikeASchema) {
  EXPECT_NE(mistakes_of(R"({"$schema": "x"})").find("$schema is not a setting"), std::string::npos);
}

TEST(Mistakes, RefusesAValueForASection) {
  EXPECT_EQ(mistakes_of(R"({"data": "rows.jsonl"})"),
            "[config] run.json:1: data is a section and must be an object of settings; found \"rows.jsonl\"");
  EXPECT_EQ(mistakes_of("", {{"data", "{train:x}"}}),
            "[config] --set: data is a section and must be an object of settings; found \"{train:x}\"");
}

TEST(Mistakes, RefusesWrongTypes) {
  const std::vector<std::array<std::string, 3>> cases{
      {"train", R"("epochs": "three")",
       R"(train.epochs must be a whole number, at least 1 and at most 1000000000; found "three")"},
      {"train", R"("epochs": 2.5)",
       "train.epochs must be a whole number, at least 1 and at most 1000000000; found the number 2.5"},
      {"train", R"("max_steps": "all")",
       R"(train.max_steps must be a whole number, at least 1 and at most 1000000000000, or none; found "all")"},
      {"train", R"("tokens_per_pack": "none")",
       R"(train.tokens_per_pack must be a whole number, at least 1 and at most 1000000000, or auto; found "none")"},
      {"train", R"("seed": 18446744073709551615)",
       "train.seed must be a whole number, at least 0; found the number 18446744073709551615"},
      {"data", R"("shuffle": 1)", "data.shuffle must be true or false; found the number 1"},
      {"data", R"("train": 5)", "data.train must be a path or a list of paths; found the number 5"},
      {"data", R"("train": ["a", ""])", R"(data.train must be a path or a list of paths; found ["a",""])"},
      {"data", R"("train": {"file": "a"})", "data.train must be a path or a list of paths; found an object"},
      {"data", R"("template": "")", R"(data.template must be a text that is not empty; found "")"},
      {"data", R"("encoding": "Plain")", R"(data.encoding must be plain | released; found "Plain")"},
      {"model", R"("path": null)", "model.path must be a text; found null"},
      {"objective", R"("rank_loss": "dpo")", R"(objective.rank_loss must be rrhf | none; found "dpo")"},
      {"optimizer", R"("name": "sgd")", R"(optimizer.name must be adamw; found "sgd")"},
      {"optimizer", R"("betas": [0.9])", "optimizer.betas must be two numbers, at least 0 and below 1; found [0.9]"},
      {"optimizer", R"("learning_rate": NaN)", "optimizer.learning_rate must be a number, at least 0; found NaN"},
      {"train", R"("max_steps": NaN)",
       "train.max_steps must be a whole number, at least 1 and at most 1000000000000, or none; found NaN"},
      {"train", R"("epochs": 4611686018427387904)",
       "train.epochs must be a whole number, at least 1 and at most 1000000000; found the number 4611686018427387904"},
      {"train", R"("queries_per_step": 9223372036854775807)",
       "train.queries_per_step must be a whole number, at least 1 and at most 1000000000; found the number "
       "9223372036854775807"},
  };
  for (const auto& [section, setting, message] : cases) {
    EXPECT_EQ(mistake(section, setting), "[config] run.json:1: " + message);
  }
}

TEST(Mistakes, RefusesWhatIsOutOfRange) {
  const std::vector<std::array<std::string, 3>> cases{
      {"optimizer", R"("learning_rate": -1)",
       "optimizer.learning_rate must be a number, at least 0; found the number -1"},
      {"optimizer", R"("betas": [0.9, 1])",
       "optimizer.betas must be two numbers, at least 0 and below 1; found [0.9,1]"},
      {"optimizer", R"("epsilon": 0)", "optimizer.epsilon must be a number, above 0; found the number 0"},
      {"optimizer", R"("weight_decay": -0.1)",
       "optimizer.weight_decay must be a number, at least 0; found the number -0.1"},
      {"optimizer", R"("max_grad_norm": -1)",
       "optimizer.max_grad_norm must be a number, at least 0; found the number -1"},
      {"schedule", R"("warmup_ratio": 1.5)",
       "schedule.warmup_ratio must be a number, at least 0 and at most 1; found the number 1.5"},
      {"data", R"("eval_fraction": 1)",
       "data.eval_fraction must be a number, at least 0 and below 1; found the number 1"},
      {"data", R"("max_length": 1)", "data.max_length must be a whole number, at least 2; found the number 1"},
      {"objective", R"("rank_weight": -1)", "objective.rank_weight must be a number, at least 0; found the number -1"},
      {"objective", R"("sft_weight": -1)", "objective.sft_weight must be a number, at least 0; found the number -1"},
      {"train", R"("epochs": 0)",
       "train.epochs must be a whole number, at least 1 and at most 1000000000; found the number 0"},
      {"train", R"("max_steps": 0)",
       "train.max_steps must be a whole number, at least 1 and at most 1000000000000, or none; found the number 0"},
      {"train", R"("queries_per_step": 0)",
       "train.queries_per_step must be a whole number, at least 1 and at most 1000000000; found the number 0"},
      {"train", R"("tokens_per_pack": 0)",
       "train.tokens_per_pack must be a whole number, at least 1 and at most 1000000000, or auto; found the number 0"},
      {"train", R"("seed": -1)", "train.seed must be a whole number, at least 0; found the number -1"},
      {"checkpoint", R"("keep": 0)", "checkpoint.keep must be a whole number, at least 1; found the number 0"},
      {"checkpoint", R"("every_steps": 0)",
       "checkpoint.every_steps must be a whole number, at least 1, or none; found the number 0"},
      {"eval", R"("every_steps": 0)",
       "eval.every_steps must be a whole number, at least 1, or none; found the number 0"},
  };
  for (const auto& [section, setting, message] : cases) {
    EXPECT_EQ(mistake(section, setting), "[config] run.json:1: " + message);
  }
}

TEST(Mistakes, TakesTheEndsOfTheRanges) {
  EXPECT_EQ(mistakes_of(R"({
    "optimizer": {"learning_rate": 0, "betas": [0, 0], "weight_decay": 0, "max_grad_norm": 0},
    "schedule": {"warmup_ratio": 1}, "data": {"eval_fraction": 0, "max_length": 2},
    "objective": {"rank_weight": 0, "sft_weight": 0, "length_penalty": -2},
    "train": {"epochs": 1, "max_steps": 1, "queries_per_step": 1, "tokens_per_pack": 1, "seed": 0},
    "checkpoint": {"keep": 1, "every_steps": 1}, "eval": {"every_steps": 1}})"),
            "none");
}

TEST(Mistakes, TakesFloat16ForTheSavedModelOnly) {
  EXPECT_EQ(mistake("checkpoint", R"("dtype": "float16")"), "none");
  EXPECT_EQ(mistake("model", R"("dtype": "float16")"),
            R"([config] run.json:1: model.dtype must be float32 | bfloat16 | float64; found "float16")");
}

TEST(Mistakes, FindsKeysGivenTwice) {
  EXPECT_EQ(mistakes_of("{\"train\": {\n  \"seed\": 1,\n  \"seed\": 2}}"),
            "[config] run.json:3: train.seed is given twice (first in line 2)");
  EXPECT_EQ(mistakes_of("{\"train\": {\"seed\": 1},\n \"tr\\u0061in\": {\"epochs\": 2}}"),
            "[config] run.json:2: train is given twice (first in line 1)");
  EXPECT_EQ(mistakes_of("{\"train\": {\"seed\": 1},\n\n \"train.seed\": 2}"),
            "[config] run.json:3: train.seed is given twice (first in line 1)");
}

TEST(Mistakes, FindsEveryOneAtOnceWithItsLine) {
  EXPECT_EQ(
      mistakes_of("{\n"
                  "  // \"seed\": in a comment\n"
                  "  \"train\": {\"epochs\": 0},\n"
                  "  \"data\": {\n"
                  "    \"max_length\": \"long\", \"shuffle\": true\n"
                  "  },\n"
                  "  \"device\": \"tpu\"\n"
                  "}",
                  {{"train.seed", "-1"}, {"optimizer.learning_rat", "1"}}),
      "[config] run.json:3: train.epochs must be a whole number, at least 1 and at most 1000000000; found the number "
      "0\n"
      "run.json:5: data.max_length must be a whole number, at least 2; found \"long\"\n"
      "run.json:7: device must be auto | cpu | cuda; found \"tpu\"\n"
      "--set: train.seed must be a whole number, at least 0; found the number -1\n"
      "--set: optimizer.learning_rat is not a setting; nearest: optimizer.learning_rate. Settings of optimizer: name, "
      "learning_rate, betas, epsilon, weight_decay, max_grad_norm, masters, moments, place, update");
}

TEST(Mistakes, SaysWhereATextIsNotJson) {
  const std::string message = mistakes_of("{\n  \"train\": {,}\n}");
  EXPECT_EQ(message.find("[config] run.json: not JSON: "), 0u) << message;
  EXPECT_NE(message.find("(line 2, column "), std::string::npos) << message;
}

TEST(Mistakes, RefusesATextThatIsNoObject) {
  EXPECT_EQ(mistakes_of("[1, 2]"), "[config] run.json: a config is an object {...}; found [1,2]");
  EXPECT_EQ(mistakes_of("7"), "[config] run.json: a config is an object {...}; found the number 7");
}

std::string unfitting(const RunConfig& config) {
  try {
    require_fitting_forms(config);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Mistakes, RefusesFormsThatNeedAnotherSetting) {
  RunConfig config;
  EXPECT_EQ(unfitting(config), "");
  config.optimizer.masters = Masters::none;
  config.train.gradients = Dtype::bfloat16;
  config.train.layer_inputs = Place::host;
  EXPECT_EQ(unfitting(config),
            "[config] optimizer.masters none needs model.dtype bfloat16; it is float32\n"
            "train.gradients bfloat16 needs model.dtype bfloat16; it is float32\n"
            "train.layer_inputs host needs train.recompute layer; it is none");
  config.model.dtype = Dtype::bfloat16;
  config.train.recompute = Recompute::layer;
  EXPECT_EQ(unfitting(config), "");
  config = {};
  config.model.dtype = Dtype::float64;
  config.optimizer.moments = Moments::eight_bit;
  EXPECT_EQ(unfitting(config), "[config] optimizer.moments 8bit does not go with model.dtype float64");
  config = {};
  config.optimizer.update = Update::layer;
  config.optimizer.place = Place::host;
  EXPECT_EQ(unfitting(config),
            "[config] optimizer.update layer needs optimizer.max_grad_norm 0; it is 1: weights move before the norm of "
            "all gradients is known\n"
            "optimizer.update layer needs optimizer.place device; it is host: no gradients are kept that could wait "
            "there");
}

TEST(Mistakes, RefusesAnOverrideWithoutKeyOrValue) {
  for (const char* argument : {"train.seed", "=5", ""}) {
    try {
      parse_override(argument);
      ADD_FAILURE() << argument;
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()), fmt::format("[config] --set {}: expected key=value, such as "
                                                       "optimizer.learning_rate=1e-5",
                                                       argument));
    }
  }
}

TEST(EditDistance, CountsInsertionsRemovalsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);  // k->s, e->i, +g
  EXPECT_EQ(edit_distance("seed", "sede"), 1u);       // one swap
  EXPECT_EQ(edit_distance("betas", "beta"), 1u);
}

}  // namespace
}  // namespace rrhf::config
