#include "rrhf/reward/row.h"

#include "support.h"

namespace rrhf::reward {
namespace {

using testing::input_error;
using testing::ScratchFolder;

std::vector<Row> rows_of(std::string_view content, DataFormat format = DataFormat::automatic) {
  const ScratchFolder folder;
  return read_rows(folder.write("data.jsonl", content), format);
}

std::string reading_error(std::string_view content) {
  std::string message = input_error([&] { rows_of(content); });
  for (auto at = message.find("/tmp/"); at != std::string::npos; at = message.find("/tmp/")) {
    message.erase(at, message.find("data.jsonl", at) - at);
  }
  return message;
}

TEST(ReadRows, NeedsNoScores) {
  const auto rows = rows_of(
      "{\"query\": \"q\", \"responses\": [\"a\", \"b\"]}\n"
      "{\"query\": \"q\", \"responses\": [\"a\"], \"scores\": null}\n"
      "{\"query\": \"q\", \"responses\": [\"a\", \"b\", \"c\"], \"scores\": [2, null, NaN], \"group\": \"g\"}\n");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].before, (std::vector<std::optional<double>>{std::nullopt, std::nullopt}));
  EXPECT_EQ(rows[1].before.size(), 1u);
  EXPECT_EQ(rows[2].before, (std::vector<std::optional<double>>{2, std::nullopt, std::nullopt}));
  EXPECT_EQ(rows[2].group, "g");
  EXPECT_EQ(rows[2].where.line, 3);
}

TEST(ReadRows, RefusesWhatCannotBeWrittenAgain) {
  const std::string message = reading_error("{\"query\": \"q\", \"responses\": [\"a\"], \"meta\": {\"p\": NaN}}\n");
  EXPECT_NE(message.find("data.jsonl:1: /meta/p is NaN"), std::string::npos) << message;
}

TEST(ReadRows, ConvertsOtherLayoutsAndKeepsWhatElseTheyCarry) {
  const auto rows = rows_of(R"({"prompt": "p", "chosen": "good", "rejected": "bad", "source": "web"})");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].before, (std::vector<std::optional<double>>{1, 0}));
  EXPECT_EQ(scored_line(rows[0], std::vector<double>{0.5, 0.25}),
            R"({"query":"p","responses":["good","bad"],"scores":[0.5,0.25],"source":"web"})");
}

TEST(ReadRows, KeepGroupAndWritersOfOtherLayouts) {
  const auto rows = rows_of(R"({"prompt": "p", "chosen": "a", "rejected": "b", "group": "g", "writers": ["x", "y"]})");
  EXPECT_EQ(rows[0].group, "g");
  EXPECT_EQ(scored_line(rows[0], std::vector<double>{0.5, 0.25}),
            R"({"query":"p","responses":["a","b"],"scores":[0.5,0.25],"group":"g","writers":["x","y"]})");
  EXPECT_EQ(reading_error(R"({"prompt": "p", "chosen": "a", "rejected": "b", "group": 3})"),
            "[data] data.jsonl:1: \"group\" is the number 3; a string is needed. (rrhf data validate looks at a whole "
            "file)");
}

TEST(ReadRows, AFormatSaysTheLayoutWhateverTheKeys) {
  const auto rows =
      rows_of(R"({"prompt": "p", "chosen": "q\n\nAssistant:a", "rejected": "q\n\nAssistant:b"})", DataFormat::hh);
  EXPECT_EQ(rows[0].query, "q\n\nAssistant:");
  EXPECT_EQ(rows[0].responses, (std::vector<std::string>{"a", "b"}));
}

TEST(ReadRows, RefusesBrokenRowsTogether) {
  EXPECT_EQ(
      reading_error(
          "{\"query\": 3, \"responses\": [\"a\"]}\n{\"query\": \"q\", \"responses\": [\"a\"], \"scores\": [1, 2]}\n"
          "[1]\n{\"text\": 1}\n{"),
      "[data] 5 errors:\n"
      "  data.jsonl:1: \"query\" is the number 3; a string is needed\n"
      "  data.jsonl:2: \"scores\" must be a list of 1 numbers (null where there is none), or be left out\n"
      "  data.jsonl:3: the row is an array of 1; an object is needed\n"
      "  data.jsonl:4: of no known layout: it has the keys text\n"
      "  data.jsonl:5: not JSON: syntax error while parsing object key - unexpected end of input; expected string "
      "literal (byte 1)");
}

TEST(ReadRows, RefusesAnEmptyFile) {
  EXPECT_EQ(reading_error(" \n"), "[data] data.jsonl: the file is empty; it must hold at least one row");
  EXPECT_EQ(reading_error("[]"), "[data] data.jsonl: holds no row");
}

TEST(ScoredLine, ReplacesTheScoresAndKeepsAllElseInPlace) {
  const auto rows =
      rows_of(R"({"id": 7, "responses": ["a", "b"], "query": "q", "scores": [1, 2], "answer": {"x": [1.50]}})");
  EXPECT_EQ(scored_line(rows[0], std::vector<double>{0.1, -3}),
            R"({"id":7,"responses":["a","b"],"query":"q","scores":[0.1,-3.0],"answer":{"x":[1.5]}})");
}

TEST(ScoredLine, LeavesOutResponsesWithoutAScoreAndTheirWriters) {
  const auto rows =
      rows_of(R"({"query": "q", "responses": ["a", "b", "c"], "writers": ["x", "y", "z"], "tags": [1, 2]})");
  EXPECT_EQ(scored_line(rows[0], std::vector<std::optional<double>>{1, std::nullopt, 3}),
            R"({"query":"q","responses":["a","c"],"writers":["x","z"],"tags":[1,2],"scores":[1.0,3.0]})");
}

}  // namespace
}  // namespace rrhf::reward
