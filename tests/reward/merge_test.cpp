#include "rrhf/reward/merge.h"

#include "support.h"

namespace rrhf::reward {
namespace {

using testing::input_error;
using testing::ScratchFolder;
using Scores = std::vector<std::vector<std::optional<double>>>;

// Rows 0 and 2 have one query.
std::vector<Row> three_rows() {
  std::vector<Row> rows{testing::make_row("q", {"a", "b"}), testing::make_row("r", {"c", "c"}),
                        testing::make_row("q", {"b", "d"})};
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].where.line = static_cast<std::int64_t>(i + 1);
  return rows;
}

// Mismatches without the name of the folder.
struct Outcome {
  Scores scores;
  std::vector<std::string> mismatches, missing;
};

Outcome merge(std::string_view content) {
  const ScratchFolder folder;
  const auto rows = three_rows();
  Merged merged = merge_scores(folder.write("s", content), rows);
  for (std::string& line : merged.mismatches) {
    for (auto at = line.find(folder.path().string()); at != std::string::npos; at = line.find(folder.path().string())) {
      line.erase(at, folder.path().string().size() + 1);
    }
  }
  return {merged.scores, merged.mismatches, merged.missing};
}

TEST(Merge, MatchesByTextInEveryRowThatHasIt) {
  const auto merged = merge(
      "{\"query\": \"q\", \"response\": \"b\", \"score\": 2}\n{\"query\": \"q\", \"response\": \"a\", \"score\": 1}\n"
      "{\"query\": \"q\", \"response\": \"d\", \"score\": 3}\n{\"query\": \"r\", \"response\": \"c\", \"score\": "
      "-1}\n");
  EXPECT_EQ(merged.scores, (Scores{{1, 2}, {-1, -1}, {2, 3}}));
  EXPECT_TRUE(merged.mismatches.empty());
  EXPECT_TRUE(merged.missing.empty());
}

TEST(Merge, MatchesByNumber) {
  const auto merged = merge(
      "[{\"row\": 0, \"response_index\": 1, \"score\": 2}, {\"row\": 0, \"response\": \"a\", \"score\": 1},\n"
      " {\"row\": 1, \"scores\": [5, 6]}, {\"row\": 2, \"response_index\": 0, \"response\": \"b\", \"query\": \"q\", "
      "\"score\": 0.5}]");
  EXPECT_EQ(merged.scores, (Scores{{1, 2}, {5, 6}, {0.5, std::nullopt}}));
  EXPECT_TRUE(merged.mismatches.empty());
  EXPECT_EQ(merged.missing, (std::vector<std::string>{"data.jsonl:3: response 1 (\"d\")"}));
}

TEST(Merge, TakesTheSameScoreTwice) {
  const auto merged =
      merge("{\"row\": 1, \"scores\": [5, 5]}\n{\"query\": \"r\", \"response\": \"c\", \"score\": 5}\n");
  EXPECT_TRUE(merged.mismatches.empty());
}

TEST(Merge, NamesEverythingThatDoesNotFit) {
  const auto merged = merge(
      "{\"row\": 3, \"response_index\": 0, \"score\": 1}\n"
      "{\"row\": 0, \"response_index\": 2, \"score\": 1}\n"
      "{\"row\": 0, \"response\": \"z\", \"score\": 1}\n"
      "{\"query\": \"u\", \"response\": \"a\", \"score\": 1}\n"
      "{\"query\": \"q\", \"response\": \"z\", \"score\": 1}\n"
      "{\"row\": 1, \"query\": \"q\", \"response\": \"c\", \"score\": 1}\n"
      "{\"row\": 0, \"response_index\": 0, \"response\": \"b\", \"score\": 1}\n"
      "{\"row\": 0, \"response_index\": 0, \"score\": NaN}\n"
      "{\"row\": 0, \"response_index\": 0}\n"
      "{\"response\": \"a\", \"score\": 1}\n"
      "{\"row\": 0, \"score\": 1}\n"
      "{\"row\": \"0\", \"response_index\": 0, \"score\": 1}\n"
      "{\"row\": 1, \"scores\": [1]}\n"
      "{\"row\": 0, \"response_index\": 1, \"score\": 4}\n"
      "{\"query\": \"q\", \"response\": \"b\", \"score\": 5}\n"
      "7\n"
      "{\"row\":\n"
      "{\"row\": 1, \"scores\": [1, 2], \"response_index\": 0, \"score\": 3}\n");
  EXPECT_EQ(
      merged.mismatches,
      (std::vector<std::string>{
          "s:1: there is no row 3: the data have rows 0 to 2",
          "s:2: row 0 has no response 2: it has 2",
          "s:3: row 0 has no response \"z\"",
          "s:4: no row has the query \"u\"",
          "s:5: no row with this query has the response \"z\"",
          "s:6: row 1 has the query \"r\", not \"q\"",
          "s:7: response 0 of row 0 is \"a\", not \"b\"",
          "s:8: \"score\": NaN is no finite number",
          "s:9: has no \"score\": its keys are row, response_index",
          "s:10: names no row: \"row\" or \"query\" is needed",
          "s:11: names no response: \"response_index\" or \"response\" is needed",
          "s:12: \"row\" must be a whole number, is a string",
          "s:13: 1 scores for row 1, which has 2 responses",
          "s:15: gives response 1 of row 0 the score 5, s:14 gave it 4",
          "s:16: the entry is the number 7; an object is needed",
          "s:17: not JSON: syntax error while parsing value - unexpected end of input; expected '[', '{', or a literal "
          "(byte 7)",
          "s:18: has \"scores\", of a whole row, and \"response_index\", of one response; one is needed",
      }));
}

TEST(RequireComplete, ThrowsAllAtOnce) {
  Merged merged;
  merged.entries = 3;
  merged.mismatches = {"s:1: x", "s:2: y"};
  merged.missing = {"data.jsonl:1: response 0 (\"a\")"};
  EXPECT_EQ(
      input_error([&] { require_complete(merged, false); }),
      "[merge] 2 of 3 entries do not fit the data:\n  s:1: x\n  s:2: y\n"
      "1 responses are left without a score (--allow-missing leaves them out):\n  data.jsonl:1: response 0 (\"a\")");
  merged.mismatches.clear();
  EXPECT_NE(input_error([&] { require_complete(merged, false); }), "");
  EXPECT_EQ(input_error([&] { require_complete(merged, true); }), "");
}

TEST(Merge, RefusesAnEmptyFile) {
  const ScratchFolder folder;
  const auto rows = three_rows();
  EXPECT_NE(input_error([&] { merge_scores(folder.write("s", ""), rows); }).find("the file is empty"),
            std::string::npos);
  EXPECT_NE(input_error([&] { merge_scores(folder.path() / "none", rows); }), "");
}

}  // namespace
}  // namespace rrhf::reward
