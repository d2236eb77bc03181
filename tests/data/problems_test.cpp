// What is wrong or odd about a row, and in which words.
#include <fmt/format.h>

#include "tests/data/support.h"

namespace rrhf::data::testing {
namespace {

using Strings = std::vector<std::string>;

class Problems : public ::testing::Test {
 protected:
  Strings of(std::string_view line) {
    const auto rows = read_rows(folder_.write("rows.jsonl", line), DataFormat::rrhf);
    EXPECT_EQ(rows.size(), 1u);
    return messages(rows.at(0));
  }

  ScratchFolder folder_;
};

TEST_F(Problems, AGoodRowHasNone) {
  EXPECT_EQ(of(R"({"query": "", "responses": ["a", "b"], "scores": [0, 1e3]})"), Strings{});
}

TEST_F(Problems, LengthsThatDiffer) {
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b", "c", "d", "e"], "scores": [1, 2, 3, 4]})"),
            Strings{"error: \"scores\" has 4 numbers for 5 responses; every response needs one"});
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a"], "scores": [1, 2]})"),
            Strings{"error: \"scores\" has 2 numbers for 1 response; every response needs one"});
}

TEST_F(Problems, NoResponses) {
  EXPECT_EQ(of(R"({"query": "q", "responses": [], "scores": []})"),
            Strings{"error: \"responses\" is empty; a row needs at least one response"});
}

TEST_F(Problems, ScoresThatAreNotFiniteNumbers) {
  const auto second = [](std::string_view found) {
    return Strings{fmt::format("error: \"scores\"[1] is {}; a finite number is needed", found)};
  };
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [1, NaN]})"), second("NaN"));
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [1, null]})"),
            Strings{"error: \"scores\"[1] is null: not scored yet; rrhf score gives every response a score"});
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [1, -Infinity]})"),
            second("-Infinity (or beyond what a double holds)"));
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [1, 1e400]})"),
            second("Infinity (or beyond what a double holds)"));
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": ["1", true]})"),
            Strings{"error: \"scores\"[0] is a string; a finite number is needed (and 1 more of its elements)"});
}

TEST_F(Problems, SeveralResponsesThatAreNotScoredYet) {
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b", "c"], "scores": [1, null, null]})"),
            Strings{"error: \"scores\"[1] is null: not scored yet; rrhf score gives every response a score (and 1 "
                    "more of them)"});
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [null]})"),
            (Strings{"error: \"scores\"[0] is null: not scored yet; rrhf score gives every response a score",
                     "error: \"scores\" has 1 number for 2 responses; every response needs one"}));
}

TEST_F(Problems, AllMistakesOfARowAtOnce) {
  EXPECT_EQ(of(R"({"query": 7, "responses": ["a", 3], "group": 5})"),
            (Strings{"error: \"scores\" is missing; the keys there are: query, responses, group",
                     "error: \"query\" is the number 7; a string is needed",
                     "error: \"responses\"[1] is the number 3; a string is needed",
                     "error: \"group\" is the number 5; a string is needed"}));
}

TEST_F(Problems, OptionalKeysMayBeNull) {
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [0, 1], "group": null, "writers": null})"),
            Strings{});
  EXPECT_EQ(
      of(R"({"query": "q", "responses": ["a"], "scores": [null]})"),
      Strings{
          "error: \"scores\"[0] is null: not scored yet; rrhf score gives every response a score"});  // this one is not
                                                                                                      // optional
}

TEST_F(Problems, AKeyGivenTwice) {
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [1, 2], "scores": [2, 1]})"),
            Strings{"error: not JSON: the key \"scores\" is given twice (byte 58 of the line)"});
}

TEST_F(Problems, WritersMustBeAsManyAsResponses) {
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b"], "scores": [1, 2], "writers": ["x"]})"),
            Strings{"error: \"writers\" has 1 names for 2 responses; every response needs one, or leave the key out"});
}

TEST_F(Problems, NestedFieldsAreNamedByTheirPath) {
  const auto rows = read_rows(folder_.write(
      "v2.json",
      R"([{"user_input": "q", "responses_and_scores": [{"response": "a", "score": 1}, {"response": "b", "score": "2"}, {"score": 1}, 4]}])"));
  EXPECT_EQ(messages(rows.at(0)),
            (Strings{"error: \"responses_and_scores\"[1].\"score\" is a string; a finite number is needed",
                     "error: \"responses_and_scores\"[2].\"response\" is missing; the keys there are: score",
                     "error: \"responses_and_scores\"[3] is the number 4; an object is needed"}));
}

TEST_F(Problems, EmptyResponsesDuplicatesAndTiesAreWarnings) {
  EXPECT_EQ(of(R"({"query": "q", "responses": ["", "a", "a", "b"], "scores": [5.5, 1, 5.5, 2]})"),
            (Strings{"warning: response 0 is empty", "warning: responses 1 and 2 are the same text",
                     "warning: scores of responses 0 and 2 tie (5.5): no pair between them"}));
}

TEST_F(Problems, ARowWithoutAPairIsAWarning) {
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a"], "scores": [1]})"),
            Strings{"warning: one response: no pair to rank, only the SFT loss counts"});
  EXPECT_EQ(of(R"({"query": "q", "responses": ["a", "b", "c"], "scores": [1, 1, 1.0]})"),
            Strings{"warning: scores of responses 0, 1 and 2 tie (1): no pair to rank, only the SFT loss counts"});
}

TEST_F(Problems, BrokenJsonNamesTheByte) {
  const auto found = of(R"({"query": "q", "responses": ["a")");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].substr(0, 17), "error: not JSON: ");
  EXPECT_NE(found[0].find("byte 32 of the line"), std::string::npos) << found[0];  // the text is 32 bytes long
}

TEST_F(Problems, ARowThatIsNoObject) {
  EXPECT_EQ(of("17"), Strings{"error: the row is the number 17; an object is needed"});
}

class VisitRows : public ::testing::Test {
 protected:
  std::string error_of(std::string_view text, bool needs_pairs = true) {
    return error_of({folder_.write("rows.jsonl", text)}, {.format = DataFormat::rrhf}, needs_pairs);
  }

  static std::string error_of(const std::vector<std::filesystem::path>& files, const RowChecks& checks,
                              bool needs_pairs = true) {
    return input_error([&] {
      const RowFacts facts = visit_rows(files, checks, [](const RankedExample&) {});
      if (needs_pairs) require_pairs(facts, files, checks.responses);
    });
  }

  ScratchFolder folder_;
};

TEST_F(VisitRows, OneErrorIsOneLine) {
  const std::string message = error_of("{\"query\": \"q\", \"responses\": [\"a\"], \"scores\": [1]}\n{}\n");
  EXPECT_NE(message.find("rows.jsonl:2: \"query\", \"responses\" and \"scores\" are missing"), std::string::npos)
      << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

TEST_F(VisitRows, TwentyErrorsAreNamedAndTheRestCounted) {
  std::string lines;
  for (int i = 0; i < 23; ++i) lines += "{}\n";
  const std::string message = error_of(lines);
  EXPECT_NE(message.find("[data] 23 errors:"), std::string::npos) << message;
  EXPECT_NE(message.find("rows.jsonl:20:"), std::string::npos);
  EXPECT_EQ(message.find("rows.jsonl:21:"), std::string::npos);
  EXPECT_NE(message.find("and 3 more"), std::string::npos);
}

TEST_F(VisitRows, NoPairInTheWholeFile) {
  const std::string tie = "{\"query\": \"q\", \"responses\": [\"a\", \"b\"], \"scores\": [1, 1]}\n";
  EXPECT_NE(error_of(tie + tie).find("no pair in the whole file"), std::string::npos);
  EXPECT_EQ(error_of(tie + tie, false), "");
  EXPECT_EQ(error_of(tie + "{\"query\": \"q\", \"responses\": [\"a\", \"b\"], \"scores\": [1, 2]}\n"), "");
}

TEST_F(VisitRows, EachFileNeedsAPair) {
  const std::string tie = "{\"query\": \"q\", \"responses\": [\"a\", \"b\"], \"scores\": [1, 1]}\n";
  const std::string pair = "{\"query\": \"q\", \"responses\": [\"a\", \"b\"], \"scores\": [1, 2]}\n";
  const auto one = folder_.write("one.jsonl", tie + pair), two = folder_.write("two.jsonl", tie);
  const std::string message = error_of({one, two}, {});
  EXPECT_NE(message.find("two.jsonl: no pair in the whole file"), std::string::npos) << message;
  EXPECT_EQ(message.find("one.jsonl"), std::string::npos) << message;
  EXPECT_EQ(error_of({one, two}, {}, false), "");
}

// Scores 1, 2, 2: the last two tie, the first differs from both.
TEST_F(VisitRows, OnlyChosenResponsesMakePairs) {
  const auto file = folder_.write("rows.jsonl", R"({"query": "q", "responses": ["a", "b", "c"], "scores": [1, 2, 2]})");
  const auto error_for = [&](ResponseChoice choice) { return error_of({file}, {.responses = choice}); };
  EXPECT_EQ(error_for(ResponseChoice::all), "");
  EXPECT_NE(error_for(ResponseChoice::provided).find("no row has two of its provided responses with unequal scores"),
            std::string::npos);
  EXPECT_NE(error_for(ResponseChoice::sampled), "");  // one response is no pair
}

TEST_F(VisitRows, ShowsRowsOfAllFilesInOrderAndTheProgressToTheEnd) {
  const auto one =
      folder_.write("one.jsonl", "{\"query\": \"q\", \"responses\": [\"a\", \"b\"], \"scores\": [1, 2]}\n");
  const auto two = folder_.write("two.jsonl", "{\"query\": \"r\", \"responses\": [\"\"], \"scores\": [1]}\n");
  double last = 0;
  std::string queries;
  const RowFacts facts = visit_rows(
      {one, two, one}, {}, [&](const RankedExample& row) { queries += row.query; },
      [&](double share) {
        EXPECT_GE(share, last);
        last = share;
      });
  EXPECT_EQ(queries, "qrq");
  EXPECT_DOUBLE_EQ(last, 1);
  EXPECT_EQ(facts.files, (std::vector<RowFacts::File>{{1, true}, {1, false}, {1, true}}));
  EXPECT_EQ(facts.rows(), 3);
  EXPECT_EQ(facts.notes.count, 1);
  EXPECT_EQ(facts.notes.file, 1u);
  EXPECT_EQ(facts.notes.where.line, 1);
  EXPECT_EQ(facts.notes.message, "response 0 is empty");
  EXPECT_EQ(facts.pair_notes.count, 1);
  EXPECT_EQ(facts.pair_notes.file, 1u);
  EXPECT_EQ(facts.pair_notes.message, "one response: no pair to rank, only the SFT loss counts");
}

TEST_F(VisitRows, ShowsNothingAfterAnError) {
  const auto file = folder_.write("rows.jsonl",
                                  "{\"query\": \"a\", \"responses\": [\"a\"], \"scores\": [1]}\n{}\n"
                                  "{\"query\": \"b\", \"responses\": [\"a\"], \"scores\": [1]}\n{}\n");
  std::string queries;
  const std::string message = input_error([&] {
    visit_rows({file}, {.format = DataFormat::rrhf}, [&](const RankedExample& row) { queries += row.query; });
  });
  EXPECT_EQ(queries, "a");
  EXPECT_NE(message.find("2 errors"), std::string::npos) << message;
}

TEST_F(VisitRows, ATemplateThatWouldWrapTwiceIsAnErrorOfTheRow) {
  const auto alpaca = text::PromptTemplate::named("alpaca");
  const auto file = folder_.write(
      "rows.jsonl",
      R"({"query": "### Instruction:\nsay it\n\n### Response:", "responses": ["a", "b"], "scores": [1, 2]})");
  const std::string message = error_of({file}, {.prompt_template = &alpaca});
  EXPECT_NE(message.find("rows.jsonl:1: the query already carries the Alpaca template"), std::string::npos) << message;
  EXPECT_EQ(error_of({file}, {}), "");
}

}  // namespace
}  // namespace rrhf::data::testing
