// Each kind of rule, with values worked out by hand.
#include <cmath>

#include "support.h"

namespace rrhf::reward {
namespace {

using testing::input_error;
using testing::value;

TEST(LengthRule, IsOneInsideTheWindow) {
  const char* rule = R"({"rule": "length", "unit": "words", "min": 2, "max": 3})";
  EXPECT_EQ(value(rule, "one"), 0);
  EXPECT_EQ(value(rule, " one\ntwo "), 1);
  EXPECT_EQ(value(rule, "one two three"), 1);
  EXPECT_EQ(value(rule, "one two three four"), 0);
}

TEST(LengthRule, FadesOutside) {
  const char* rule = R"({"rule": "length", "min": 4, "max": 6, "fade": 4})";
  EXPECT_EQ(value(rule, "a b c"), 0.75);  // one below, of four
  EXPECT_EQ(value(rule, "a b c d e f g h"), 0.5);
  EXPECT_EQ(value(rule, ""), 0);
}

TEST(LengthRule, CountsCharactersNotBytes) {
  const char* rule = R"({"rule": "length", "unit": "characters", "min": 2, "max": 2})";
  EXPECT_EQ(value(rule, "\u4f60\u597d"), 1);
}

TEST(LengthRule, CountsSentences) {
  const char* rule = R"({"rule": "length", "unit": "sentences", "min": 2, "max": 2})";
  EXPECT_EQ(value(rule, "It is 3.5 m. Is it?"), 1);
  EXPECT_EQ(value(rule, "  One!  "), 0);
  EXPECT_EQ(value(rule, "No end mark. none here"), 1);
}

TEST(LengthRule, CountsTokensWithATokenizer) {
  const auto tokenizer = text::Tokenizer::load(std::filesystem::path(RRHF_SOURCE_DIR) / "data" / "quickstart");
  const auto count = std::ssize(tokenizer.encode("Name two fruits."));
  const auto rule = fmt::format(R"({{"rule": "length", "unit": "tokens", "min": {0}, "max": {0}}})", count);
  const Row row = testing::make_row("", {"Name two fruits.", "Name"});
  EXPECT_EQ(RuleFile::parse(rule, "rule.json", &tokenizer).score(row), (std::vector<double>{1, 0}));
}

TEST(RegexRule, CountsMatchesAnywhere) {
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "\\bthe\\b", "ignore_case": true})", "On The mat"), 1);
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "a", "min": 2, "max": 2})", "banana"), 0);
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "a", "min": 0, "max": 0})", "xyz"), 1);
}

TEST(RegexRule, LooksIntoSentences) {
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "^No", "where": "last sentence"})", "No. Yes."), 0);
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "^No", "where": "first sentence"})", "No. Yes."), 1);
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "^No", "where": "sentences", "min": 2})", "No. Yes. No way."), 1);
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "", "where": "last sentence"})", " "), 0);
}

TEST(RegexRule, LooksIntoTheQuery) {
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "fruit", "in": "query"})", "fruit", "animal"), 0);
  EXPECT_EQ(value(R"({"rule": "regex", "pattern": "fruit", "in": "query"})", "", "fruit"), 1);
}

TEST(ExactRule, ComparesWithTheRowsField) {
  const char* rule = R"({"rule": "exact"})";
  EXPECT_EQ(value(rule, " Paris\n", "", {{"answer", "Paris"}}), 1);
  EXPECT_EQ(value(rule, "paris", "", {{"answer", "Paris"}}), 0);
  EXPECT_EQ(value(rule, "42", "", {{"answer", 42}}), 1);
  EXPECT_EQ(value(rule, "b", "", {{"answer", {"a", "b"}}}), 1);
  EXPECT_EQ(value(R"({"rule": "exact", "ignore_case": true, "strip": false})", "PARIS", "", {{"answer", "Paris"}}), 1);
  EXPECT_EQ(value(R"({"rule": "exact", "strip": false})", "Paris ", "", {{"answer", "Paris"}}), 0);
}

TEST(ExactRule, TakesTheAnswerOut) {
  const char* rule = R"json({"rule": "exact", "field": "gold", "extract": "#### (.*)"})json";
  EXPECT_EQ(value(rule, "so it is\n#### 12", "", {{"gold", "12"}}), 1);
  EXPECT_EQ(value(rule, "12", "", {{"gold", "12"}}), 0);
}

TEST(ExactRule, NamesTheRowThatLacksTheField) {
  const std::string message = input_error([] { value(R"({"rule": "exact"})", "x"); });
  EXPECT_EQ(message,
            "[rule] data.jsonl:1: response 0: rule exact: the row has no \"answer\" to compare with (the rule's "
            "\"field\" names the key)");
  EXPECT_NE(input_error([] {
              value(R"({"rule": "exact"})", "x", "", {{"answer", nullptr}});
            }).find("is null"),
            std::string::npos);
}

TEST(RepetitionRule, IsTheShareOfRepeatedGrams) {
  // a b, b a, a b, b a, a b: 2 of 5 are different
  EXPECT_DOUBLE_EQ(value(R"({"rule": "repetition", "n": 2})", "a b a b a b"), 0.6);
  EXPECT_EQ(value(R"({"rule": "repetition", "n": 2})", "a b c d"), 0);
  EXPECT_EQ(value(R"({"rule": "repetition"})", "a b"), 0);  // no gram at all
  EXPECT_DOUBLE_EQ(value(R"({"rule": "repetition", "n": 1, "unit": "characters"})", "\u00e4\u00e4b"), 1.0 / 3);
}

TEST(ArithmeticRule, FindsExpressionAndNumber) {
  const char* rule = R"({"rule": "arithmetic"})";
  EXPECT_EQ(value(rule, "It is 14.", "What is 2 + 3 * 4?"), 1);
  EXPECT_EQ(value(rule, "2 + 3 * 4 is twenty", "What is 2 + 3 * 4?"), 0);
  EXPECT_EQ(value(rule, "14", "Say something."), 0);
  EXPECT_EQ(value(rule, "0.333333", "What is 1 / 3?"), 0);
  EXPECT_EQ(value(R"({"rule": "arithmetic", "tolerance": 1e-3})", "0.333", "What is 1 / 3?"), 1);
}

TEST(ArithmeticRule, GivesSomethingForANearNumber) {
  const char* rule = R"({"rule": "arithmetic", "near": {"within": 1, "value": 0.3}})";
  EXPECT_EQ(value(rule, "6", "2 + 3"), 0.3);
  EXPECT_EQ(value(rule, "7", "2 + 3"), 0);
}

TEST(ArithmeticRule, TakesPartsFromLists) {
  const char* rule = R"({"rule": "arithmetic", "expression": {"list": "match", "in": "query", "pattern": "of (.*):"},
    "answer": {"list": "match", "pattern": "= (.*)$", "split": ","}})";
  EXPECT_EQ(value(rule, "9 = 3", "9 + 9 of 1 + 2: go"), 1);
  EXPECT_EQ(value(rule, "= 3,3", "9 + 9 of 1 + 2: go"), 0);  // two answers
  EXPECT_EQ(value(rule, "3", "9 + 9 of 1 + 2: go"), 0);
}

TEST(Combining, AddsMultipliesAndBounds) {
  EXPECT_EQ(value(R"({"rule": "sum", "of": [1, 2, 3]})", ""), 6);
  EXPECT_EQ(value(R"({"rule": "sum", "of": [1, 2], "weights": [0.5, -1]})", ""), -1.5);
  EXPECT_EQ(value(R"({"rule": "product", "of": [2, 3, 4]})", ""), 24);
  EXPECT_EQ(value(R"({"rule": "min", "of": [2, -3, 4]})", ""), -3);
  EXPECT_EQ(value(R"({"rule": "max", "of": [2, -3, 4]})", ""), 4);
  EXPECT_EQ(value(R"({"rule": "not", "of": 0.25})", ""), 0.75);
  EXPECT_EQ(value(R"({"rule": "constant", "value": 1.5})", ""), 1.5);
}

TEST(Combining, TakesTheFirstBranchThatHolds) {
  EXPECT_EQ(value(R"({"rule": "if", "if": 0.1, "then": 5, "else": 6})", ""), 5);
  EXPECT_EQ(value(R"({"rule": "if", "if": 0, "then": 5, "else": 6})", ""), 6);
  EXPECT_EQ(value(R"({"rule": "if", "if": -1, "then": 5})", ""), 0);
  const char* rule = R"({"rule": "case", "of": [{"when": {"rule": "regex", "pattern": "a"}, "then": 1},
    {"when": {"rule": "regex", "pattern": "b"}, "then": 2}], "else": 3})";
  EXPECT_EQ(value(rule, "ba"), 1);
  EXPECT_EQ(value(rule, "b"), 2);
  EXPECT_EQ(value(rule, "c"), 3);
}

TEST(Combining, DoesNotComputeBranchesThatAreNotTaken) {
  EXPECT_EQ(value(R"({"rule": "if", "if": 0, "then": {"rule": "exact"}, "else": 1})", "no answer in this row"), 1);
}

TEST(Combining, RoundsAsPythonDoes) {
  // 0.0625 is a tie in binary too; 2.675 is stored below the tie.
  EXPECT_EQ(value(R"({"rule": "round", "of": 0.0625, "digits": 3})", ""), 0.062);
  EXPECT_EQ(value(R"({"rule": "round", "of": 2.675, "digits": 2})", ""), 2.67);
}

TEST(Combining, RefusesAValueThatIsNotFinite) {
  const std::string message = input_error([] { value(R"({"rule": "product", "of": [1e300, 1e300]})", ""); });
  EXPECT_EQ(message, "[rule] data.jsonl:1: response 0: the rule's value is not a finite number");
}

// --- lists
// ------------------------------------------------------------------------------------------------------------

double share(std::string_view wanted, std::string_view given, std::string_view match = "in place") {
  return value(fmt::format(R"({{"tables": {{"kind": {{"pear": "fruit", "fig": "fruit", "dog": "animal"}}}},
    "score": {{"rule": "share", "wanted": {}, "given": {}, "match": "{}"}}}})",
                           wanted, given, match),
               "a, b. c, d.", "x y");
}

TEST(ShareRule, ComparesInPlace) {
  EXPECT_EQ(share(R"(["a", "b"])", R"(["a", "c"])"), 0.5);
  EXPECT_EQ(share(R"(["a", "b"])", R"(["a", "b", "b", "b"])"), 0.5);
  EXPECT_EQ(share(R"(["a", "b"])", R"(["b", "a"])"), 0);
  EXPECT_EQ(share("[]", "[]"), 1);
}

TEST(ShareRule, ComparesInAnyOrder) {
  EXPECT_EQ(share(R"(["a", "b", "b"])", R"(["b", "a", "a"])", "any order"), 2.0 / 3);
  EXPECT_EQ(share(R"(["a"])", R"(["c", "c", "a", "a"])", "any order"), 0.25);
}

TEST(ShareRule, ComparesAsAWhole) {
  EXPECT_EQ(share(R"(["a", "b"])", R"(["a", "b"])", "equal"), 1);
  EXPECT_EQ(share(R"(["a", "b"])", R"(["a"])", "equal"), 0);
}

TEST(Lists, AreTakenFromTheFirstSentenceThatMatches) {
  const char* match = R"({"list": "match", "where": "sentences", "whole": true, "pattern": "(c.*)\\.", "split": ", "})";
  EXPECT_EQ(share(R"(["c", "d"])", match, "equal"), 1);
  EXPECT_EQ(share(R"([])", R"json({"list": "match", "pattern": "(q)"})json", "equal"),
            0);  // no list is not an empty one
  EXPECT_EQ(share(R"(["y"])", R"json({"list": "match", "in": "query", "pattern": "(z)|(y)"})json", "equal"), 1);
}

TEST(Lists, AreTurnedMappedAndExpanded) {
  EXPECT_EQ(share(R"(["b", "a"])", R"({"list": "reverse", "of": ["a", "b"]})", "equal"), 1);
  EXPECT_EQ(share(R"(["fruit", "animal"])", R"({"list": "map", "table": "kind", "of": ["fig", "dog"]})", "equal"), 1);
  // what the table lacks equals nothing, not even itself
  EXPECT_EQ(
      share(R"({"list": "map", "table": "kind", "of": ["?"]})", R"({"list": "map", "table": "kind", "of": ["?"]})"), 0);
  const char* expand =
      R"({"list": "expand", "of": ["two figs", "one dog"], "pattern": "(?<count>\\w+) (?<item>\\w+?)s?"})";
  EXPECT_EQ(share(R"(["fig", "fig", "dog"])", expand, "equal"), 1);
  EXPECT_EQ(
      share(R"(["x"])", R"json({"list": "expand", "of": ["many x"], "pattern": "(?<count>\\w+) (?<item>\\w+)"})json"),
      0);
}

TEST(Lists, DropRepetitionsAndFindTheOddOne) {
  // the second "a" keeps its place and counts for nothing
  EXPECT_EQ(share(R"(["a", "a"])", R"({"list": "distinct", "of": ["a", "a"]})", "any order"), 0.5);
  EXPECT_EQ(share(R"(["dog"])", R"({"list": "odd", "table": "kind", "of": ["fig", "dog", "pear"]})", "equal"), 1);
}

TEST(FoundRule, SaysWhetherTheListIsThere) {
  EXPECT_EQ(value(R"json({"rule": "found", "of": {"list": "match", "pattern": "(a)"}})json", "a"), 1);
  EXPECT_EQ(value(R"json({"rule": "found", "of": {"list": "match", "pattern": "(a)"}})json", "b"), 0);
}

}  // namespace
}  // namespace rrhf::reward
