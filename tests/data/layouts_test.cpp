// Each layout, read into the same rows.
#include "rrhf/data/row_checks.h"
#include "tests/data/support.h"

namespace rrhf::data::testing {
namespace {

using Strings = std::vector<std::string>;
using Numbers = std::vector<double>;

class Layouts : public ::testing::Test {
 protected:
  RankedExample only_row(std::string_view text, DataFormat format = DataFormat::automatic) {
    const auto rows = read_rows(folder_.write("rows.json", text), format);
    EXPECT_EQ(rows.size(), 1u);
    EXPECT_TRUE(rows.at(0).example) << ::testing::PrintToString(messages(rows.at(0)));
    return rows.at(0).example.value_or(RankedExample{});
  }

  std::string layout(std::string_view text) {
    return RowReader(folder_.write("rows.json", text), DataFormat::automatic).layout();
  }

  ScratchFolder folder_;
};

TEST_F(Layouts, RrhfKeepsWritersAndGroupAndPassesOverOtherKeys) {
  const auto row = only_row(
      R"({"id": {"a": [1]}, "query": "q", "responses": ["a", "b"], "scores": [1, -2.5], "sources": ["x", "y"], "group": "g"})");
  EXPECT_EQ(row.query, "q");
  EXPECT_EQ(row.responses, (Strings{"a", "b"}));
  EXPECT_EQ(row.scores, (Numbers{1, -2.5}));
  EXPECT_EQ(row.writers, (Strings{"x", "y"}));
  EXPECT_EQ(row.group, "g");
}

TEST_F(Layouts, Gpt4LlmV1PutsTheFirstCompletionAbove) {
  const auto row = only_row(R"([{"user_input": "q", "completion_a": "a", "completion_b": "b"}])");
  EXPECT_EQ(row.query, "q");
  EXPECT_EQ(row.responses, (Strings{"a", "b"}));
  EXPECT_EQ(row.scores, (Numbers{2, 1}));
}

TEST_F(Layouts, Gpt4LlmV2NamesItsWriters) {
  const auto row = only_row(
      R"([{"user_input": "q", "responses_and_scores": [{"response": "a", "source": "gpt4", "score": 9}, {"response": "b", "source": "opt", "score": 2.5}]}])");
  EXPECT_EQ(row.responses, (Strings{"a", "b"}));
  EXPECT_EQ(row.scores, (Numbers{9, 2.5}));
  EXPECT_EQ(row.writers, (Strings{"gpt4", "opt"}));
}

TEST_F(Layouts, HhQueryEndsWithTheLastSharedAssistantTurn) {
  const auto row = only_row(
      R"({"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: yes", "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: you\n\nHuman: d\n\nAssistant: e"})");
  EXPECT_EQ(row.query, "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:");
  EXPECT_EQ(row.responses, (Strings{" yes", " you\n\nHuman: d\n\nAssistant: e"}));
  EXPECT_EQ(row.scores, (Numbers{1, 0}));
}

TEST_F(Layouts, HhEqualDialoguesStillHaveResponses) {
  const auto row =
      only_row(R"({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: b"})");
  EXPECT_EQ(row.responses, (Strings{" b", " b"}));
}

TEST_F(Layouts, HhWithoutASharedTurnIsAnError) {
  const auto rows = read_rows(folder_.write("hh.jsonl", R"({"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: b"})"));
  EXPECT_EQ(messages(rows.at(0)),
            Strings{R"(error: "chosen" and "rejected" share no beginning that ends in "\n\nAssistant:")"});
}

TEST_F(Layouts, PreferenceRowsAreToldFromHhByTheirPrompt) {
  const auto row = only_row(R"({"chosen": "a", "rejected": "b", "prompt": "p"})");
  EXPECT_EQ(row.query, "p");
  EXPECT_EQ(row.responses, (Strings{"a", "b"}));
  EXPECT_EQ(row.scores, (Numbers{1, 0}));
}

TEST_F(Layouts, EveryLayoutIsReadAsLinesAndAsAnArray) {
  const std::string rrhf = R"({"query": "q", "responses": ["a"], "scores": [1]})";
  const std::string v1 = R"({"user_input": "q", "completion_a": "a", "completion_b": "b"})";
  EXPECT_EQ(layout(rrhf), "RRHF JSON lines");
  EXPECT_EQ(layout("[" + rrhf + "]"), "RRHF JSON array");
  EXPECT_EQ(layout("[" + v1 + "]"), "GPT-4-LLM comparison v1");
  EXPECT_EQ(layout(v1), "GPT-4-LLM comparison v1 JSON lines");
}

TEST_F(Layouts, TheLayoutShowsInALaterRowWhenTheFirstIsBroken) {
  const auto rows = read_rows(folder_.write(
      "rows.jsonl", "{\"query\": \"q\", \"resp\n{\"query\": \"q\", \"responses\": [\"a\"], \"scores\": [1]}\n"));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_FALSE(rows[0].example);
  EXPECT_TRUE(rows[1].example);
}

TEST_F(Layouts, AnUnknownLayoutNamesTheKeysFoundAndTheLayoutsKnown) {
  const auto path = folder_.write("other.jsonl", R"({"prompt": "p", "response": ["a"]})");
  const std::string message = input_error([&] { RowReader(path, DataFormat::automatic); });
  EXPECT_NE(message.find("line 1: it has the keys prompt, response."), std::string::npos) << message;
  EXPECT_NE(message.find("query, responses [strings], scores [numbers]"), std::string::npos) << message;
  EXPECT_NE(message.find("prompt, chosen, rejected"), std::string::npos) << message;
}

TEST_F(Layouts, AFormatThatIsNamedIsNotGuessed) {
  const auto rows = read_rows(folder_.write("other.jsonl", R"({"prompt": "p", "response": ["a"]})"), DataFormat::rrhf);
  EXPECT_EQ(messages(rows.at(0)),
            Strings{R"(error: "query", "responses" and "scores" are missing; the keys there are: prompt, response)"});
}

TEST(RankedExampleHelpers, PairsBestAndPlaces) {
  EXPECT_EQ(unequal_pairs({3, 1, 1, 2}), 5);  // six pairs, one of them 1 = 1
  EXPECT_EQ(unequal_pairs({1}), 0);
  EXPECT_EQ(best_response({1, 3, 3, 2}), 1u);
  EXPECT_EQ((RowLocation{.file = "f.jsonl", .row = 16, .line = 17, .byte = 0}.text()), "f.jsonl:17");
  EXPECT_EQ((RowLocation{.file = "f.json", .row = 5, .line = 0, .byte = 18211}.text()), "f.json row 5 (byte 18,211)");
}

}  // namespace
}  // namespace rrhf::data::testing
