// Rule files: names, mistakes, the examples of docs/rewards.md and the quickstart's reward.
#include "rrhf/reward/rule_file.h"

#include <set>
#include <sstream>

#include "rrhf/reward/rule_reader.h"
#include "support.h"

namespace rrhf::reward {
namespace {

using testing::refusal;
using testing::value;

const std::filesystem::path source = RRHF_SOURCE_DIR;

TEST(RuleFile, UsesWhatIsDefinedAbove) {
  const char* file = R"json({
    // words and their values
    "tables": {"t": {"a": "b"}},
    "lists": {"given": {"list": "match", "pattern": "(.*)"}, "mapped": {"list": "map", "of": "given", "table": "t"}},
    "rules": {"one": 1, "two": {"rule": "sum", "of": ["one", "one"]}},
    "score": {"rule": "product", "of": ["two", {"rule": "share", "wanted": ["b"], "given": "mapped"}]}})json";
  EXPECT_EQ(value(file, "a"), 2);
  EXPECT_EQ(value(file, "b"), 0);
}

TEST(RuleFile, ScoresEveryResponse) {
  const Row row = testing::make_row("", {"a", "bb", ""});
  EXPECT_EQ(RuleFile::parse(R"({"rule": "length", "unit": "characters", "min": 1, "max": 1})", "f").score(row),
            (std::vector<double>{1, 0, 0}));
}

TEST(RuleFile, ReplacesWhatIsNotUtf8) { EXPECT_EQ(value(R"({"rule": "regex", "pattern": "\ufffd"})", "\xff"), 1); }

struct Refused {
  const char* what;
  const char* file;
  const char* message;
};

class RuleFileMistakes : public ::testing::TestWithParam<Refused> {};

TEST_P(RuleFileMistakes, AreNamed) { EXPECT_EQ(refusal(GetParam().file), GetParam().message); }

INSTANTIATE_TEST_SUITE_P(
    Each, RuleFileMistakes,
    ::testing::Values(
        Refused{"Empty", "  \n", "[rule] rule.json: the file is empty; a rule is needed (docs/rewards.md)"},
        Refused{
            "UnknownRule", R"({"rule": "lenght", "min": 1})",
            "[rule] rule.json: the rule: \"lenght\" is not a rule; nearest: length. There are: length, regex, exact, "
            "repetition, share, found, arithmetic, sum, product, min, max, not, if, case, round, constant"},
        Refused{
            "UnknownKey", R"({"rule": "length", "mim": 1, "max": 2})",
            "[rule] rule.json: the rule: \"mim\" is not a key of rule length; nearest: min. There are: fade, in, max, "
            "min, rule, unit"},
        Refused{"BadPattern", R"({"rule": "regex", "pattern": "a(b"})",
                "[rule] rule.json: the rule: \"pattern\": \"a(b\" is not a regular expression: missing closing "
                "parenthesis (at character 4)"},
        Refused{"NoWindow", R"({"rule": "length"})", "[rule] rule.json: the rule: \"min\", \"max\" or both are needed"},
        Refused{"EmptyWindow", R"({"rule": "length", "min": 3, "max": 2})",
                "[rule] rule.json: the rule: \"max\" is below \"min\": nothing fits"},
        Refused{"Tokens", R"({"rule": "length", "unit": "tokens", "min": 3})",
                "[rule] rule.json: the rule: \"unit\" tokens needs a tokenizer: --tokenizer DIR names a model folder"},
        Refused{"Word", R"({"rule": "length", "unit": "lines", "min": 3})",
                "[rule] rule.json: the rule: \"unit\" is \"lines\"; it must be one of: words, characters, sentences, "
                "tokens"},
        Refused{"Weights", R"({"rule": "sum", "of": [1, 2], "weights": [1]})",
                "[rule] rule.json: the rule: \"weights\" has 1 numbers for 2 rules; each needs one"},
        Refused{"Type", R"({"rule": "round", "of": 1, "digits": "three"})",
                "[rule] rule.json: the rule: \"digits\" must be a number, is a string"},
        Refused{"Missing", R"({"rule": "not"})", "[rule] rule.json: the rule: \"of\" is missing"},
        Refused{"Group", R"({"rule": "found", "of": {"list": "match", "pattern": "a"}})",
                "[rule] rule.json: the rule.of: \"pattern\" needs a group, (...), around what the list holds"},
        Refused{"Name", R"({"rules": {"polite": 1}, "score": {"rule": "not", "of": "polit"}})",
                "[rule] rule.json: the file.score.of: no rule is called \"polit\"; nearest: polite. There are: polite"},
        Refused{
            "List", R"json({"rule": "found", "of": {"list": "mach", "pattern": "(a)"}})json",
            "[rule] rule.json: the rule.of: \"mach\" is not a list; nearest: match. There are: match, reverse, map, "
            "expand, distinct, odd"},
        Refused{"Table", R"({"rule": "found", "of": {"list": "map", "of": [], "table": "t"}})",
                "[rule] rule.json: the rule.of: no table is called \"t\"; none is defined above it"},
        Refused{"Section", R"({"rule_s": {}, "score": 1})",
                "[rule] rule.json: the file: \"rule_s\" is not a key of a rule file (or a single rule has \"rule\"); "
                "nearest: rules. There are: lists, rules, score, tables"},
        Refused{
            "Array", R"([1])",
            "[rule] rule.json: the rule: must be a rule (an object, a number or a defined name), is an array of 1"}),
    [](const auto& info) { return info.param.what; });

TEST(RuleFile, NamesAllMistakesTogether) {
  const std::string message = refusal(R"({"rule": "sum", "of": [{"rule": "nott", "of": 1}, {"rule": "regex"}]})");
  EXPECT_NE(message.find("the rule.of[0]: \"nott\" is not a rule"), std::string::npos) << message;
  EXPECT_NE(message.find("\n[rule] rule.json: the rule.of[1]: \"pattern\" is missing"), std::string::npos) << message;
}

TEST(RuleFile, SaysWhereItIsNotJson) {
  EXPECT_NE(refusal("{\n\"rule\": }").find("rule.json: not JSON:"), std::string::npos);
  EXPECT_NE(testing::input_error([] { RuleFile::load("/no/such/rule.json"); }), "");
}

// --- docs/rewards.md
// --------------------------------------------------------------------------------------------------

// The blocks of JSON that hold lines `// {row} -> value`.
std::vector<std::string> documented_rules() {
  std::istringstream lines(read_file(source / "docs" / "rewards.md"));
  std::vector<std::string> blocks;
  std::string block;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line == "```json" || line == "```") {
      if (inside && block.find("} -> ") != std::string::npos) blocks.push_back(block);
      inside = line == "```json";
      block.clear();
    } else if (inside) {
      block += line + "\n";
    }
  }
  return blocks;
}

TEST(RewardDocs, HoldWhatTheySay) {
  std::set<std::string> shown;
  for (const std::string& block : documented_rules()) {
    const RuleFile rules = RuleFile::parse(block, "docs/rewards.md");
    std::istringstream lines(block);
    for (std::string line; std::getline(lines, line);) {
      const auto arrow = line.rfind("} -> ");
      if (!line.starts_with("// {") || arrow == std::string::npos) continue;
      const Json json = parse_json_row(line.substr(3, arrow - 2));
      Row row = testing::make_row(json.value("query", ""), {json.at("response").get<std::string>()});
      row.json.update(json);
      EXPECT_NEAR(rules.score(row)[0], std::stod(line.substr(arrow + 5)), 1e-3) << line;
    }
    for (const auto kinds : {text_rules(), list_rules(), arithmetic_rules(), combining_rules()}) {
      for (const RuleKind& kind : kinds) {
        if (block.find(fmt::format("\"rule\": \"{}\"", kind.name)) != std::string::npos) shown.emplace(kind.name);
      }
    }
    for (const ListKind& kind : list_kinds()) {
      if (block.find(fmt::format("\"list\": \"{}\"", kind.name)) != std::string::npos) shown.emplace(kind.name);
    }
  }
  for (const auto kinds : {text_rules(), list_rules(), arithmetic_rules(), combining_rules()}) {
    for (const RuleKind& kind : kinds) EXPECT_TRUE(shown.contains(std::string(kind.name))) << kind.name;
  }
  for (const ListKind& kind : list_kinds()) EXPECT_TRUE(shown.contains(std::string(kind.name))) << kind.name;
}

// --- the quickstart's reward
// ------------------------------------------------------------------------------------------

TEST(QuickstartReward, GivesTheDataTheirScoresBack) {
  const RuleFile rules = RuleFile::load(source / "data" / "quickstart_reward.json");
  std::size_t responses = 0;
  for (const char* name : {"train.jsonl", "test.jsonl", "sft.jsonl"}) {
    const auto file = source / "data" / "quickstart" / name;
    for (const Row& row : read_rows(file, DataFormat::rrhf)) {
      const std::vector<double> scores = rules.score(row);
      for (std::size_t i = 0; i < scores.size(); ++i) {
        ASSERT_EQ(scores[i], row.before[i]) << row.where.text() << ": " << row.query << " | " << row.responses[i];
      }
      responses += scores.size();
    }
  }
  EXPECT_GT(responses, 10000u);
}

}  // namespace
}  // namespace rrhf::reward
