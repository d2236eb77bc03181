#include "rrhf/data/open_rows.h"

#include "support.h"

namespace rrhf::data {
namespace {

using testing::ScratchFolder;

class OpenRows : public ::testing::Test {
 protected:
  std::vector<OpenRow> read(std::string_view content, std::string_view name = "rows.jsonl",
                            DataFormat format = DataFormat::automatic) const {
    return read_open_rows(folder_.write(name, content), format);
  }
  std::string refusal(std::string_view content) const {
    try {
      read(content);
    } catch (const InputError& failure) {
      return failure.what();
    }
    return "";
  }

  ScratchFolder folder_;
  const std::vector<std::string> new_{"y", "z"};
};

TEST_F(OpenRows, ScoresToComeAreNull) {
  const auto rows = read(R"({"query": "a"}
{"query": "b", "responses": ["x"]}
{"query": "c", "responses": ["x", "w"], "scores": [null, 2]}
)");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].json.dump(), R"({"query":"a","responses":[],"scores":[]})");
  EXPECT_EQ(rows[1].json.dump(), R"({"query":"b","responses":["x"],"scores":[null]})");
  EXPECT_EQ(rows[2].json.dump(), R"({"query":"c","responses":["x","w"],"scores":[null,2]})");
  EXPECT_EQ(rows[2].where.line, 3);
  EXPECT_EQ(rows[2].where.row, 2);
}

TEST_F(OpenRows, NewResponsesStandBehindOrBefore) {
  const auto rows = read(R"({"id": 5, "query": "a", "responses": ["x"], "scores": [1], "writers": ["ann"]})");
  EXPECT_EQ(with_responses(rows[0], new_, "me", Place::last).dump(),
            R"({"query":"a","responses":["x","y","z"],"scores":[1,null,null],"id":5,"writers":["ann","me","me"]})");
  EXPECT_EQ(with_responses(rows[0], new_, "me", Place::first).dump(),
            R"({"query":"a","responses":["y","z","x"],"scores":[null,null,1],"id":5,"writers":["me","me","ann"]})");
}

TEST_F(OpenRows, WritersThatAreNotKnownAreEmpty) {
  const auto rows = read(R"({"query": "a", "responses": ["x"], "scores": [1]}
{"query": "a", "responses": ["x"], "scores": [1], "sources": ["ann"]}
{"query": "a", "responses": ["x"], "scores": [1], "writers": []}
{"query": "a", "writers": null}
{"query": "a", "sources": null}
)");
  EXPECT_EQ(with_responses(rows[0], new_, "me", Place::last)["writers"].dump(), R"(["","me","me"])");
  EXPECT_EQ(with_responses(rows[1], new_, "me", Place::last)["sources"].dump(), R"(["ann","me","me"])");
  EXPECT_FALSE(with_responses(rows[1], new_, "me", Place::last).contains("writers"));
  EXPECT_EQ(with_responses(rows[2], new_, "me", Place::last)["writers"].dump(), R"(["","me","me"])");
  // null stands for a key that is not given
  EXPECT_EQ(with_responses(rows[3], new_, "me", Place::last)["writers"].dump(), R"(["me","me"])");
  EXPECT_EQ(with_responses(rows[4], new_, "me", Place::last)["writers"].dump(), R"(["me","me"])");
}

TEST_F(OpenRows, OtherLayoutsBecomeRrhfRows) {
  const auto rows = read(R"({"prompt": "a", "chosen": "x", "rejected": "w", "id": 5})");
  EXPECT_EQ(rows[0].json.dump(), R"({"query":"a","responses":["x","w"],"scores":[1.0,0.0],"id":5})");
}

TEST_F(OpenRows, AFormatSaysTheLayoutWhateverTheKeys) {
  // By its keys a preference row, with a "query" of its own: training under data.format hh reads its dialogues.
  const auto row = R"({"query": 3, "prompt": "p", "chosen": "q\n\nAssistant:x", "rejected": "q\n\nAssistant:w"})";
  EXPECT_EQ(read(row, "rows.jsonl", DataFormat::hh)[0].json.dump(),
            R"({"query":"q\n\nAssistant:","responses":["x","w"],"scores":[1.0,0.0]})");
  // Queries, with responses or without, are no other layout's rows.
  EXPECT_EQ(read(R"({"query": "a"})", "rows.jsonl", DataFormat::hh)[0].query, "a");
  EXPECT_EQ(read(R"({"query": "a", "responses": ["x"]})", "rows.jsonl", DataFormat::hh)[0].responses.size(), 1u);
  EXPECT_THROW(read(R"({"text": "a"})", "rows.jsonl", DataFormat::hh), InputError);
}

TEST_F(OpenRows, AGroupIsAText) {
  for (const char* row :
       {R"({"query": "a", "group": 3})", R"({"prompt": "a", "chosen": "x", "rejected": "w", "group": 3})"}) {
    EXPECT_NE(refusal(row).find("\"group\" is the number 3; a string is needed"), std::string::npos) << refusal(row);
  }
  EXPECT_EQ(read(R"({"query": "a", "group": null})").size(), 1u);
}

TEST_F(OpenRows, ATextFileHoldsAQueryALine) {
  const auto rows = read("a b\nc\n", "rows.txt");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].query, "c");
  EXPECT_EQ(rows[1].where.row, 1);
}

TEST_F(OpenRows, AllBrokenRowsAreNamed) {
  const std::string refused = refusal(R"({"query": "a", "responses": ["x"], "scores": [1, 2]}
{"query": "a", "responses": ["x"], "scores": ["1"]}
{"question": "a"}
[1]
{"query": 5}
)");
  for (const char* word : {"5 errors", "rows.jsonl:1: \"scores\" is an array of 2",
                           "rows.jsonl:2: \"scores\" holds a string", "rows.jsonl:3: has no \"query\"",
                           "rows.jsonl:4: the row is an array of 1", "rows.jsonl:5: \"query\" is the number"}) {
    EXPECT_NE(refused.find(word), std::string::npos) << word << "\n" << refused;
  }
}

}  // namespace
}  // namespace rrhf::data
