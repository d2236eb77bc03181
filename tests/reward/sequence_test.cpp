// What a reward model reads, by laws: a row's sequences are those of its responses alone.
#include "rrhf/reward/sequence.h"

#include <algorithm>

#include "support.h"

namespace rrhf::reward {
namespace {

using testing::make_row;
using Ids = std::vector<std::int32_t>;

class Sequences : public ::testing::Test {
 protected:
  SequenceEncoder encoder(SequenceOptions options, const char* prompt_template = "none") {
    template_ = text::PromptTemplate::named(prompt_template);
    return {tokenizer_, template_, std::move(options)};
  }

  // Every sequence whole, in the order of the responses.
  static std::vector<Ids> whole(const RowSequences& row, std::size_t responses) {
    std::vector<Ids> all(responses);
    for (const SharedSequences& group : row.groups) {
      EXPECT_EQ(group.rests.size(), group.responses.size());
      EXPECT_FALSE(group.prefix.empty());
      for (std::size_t i = 0; i < group.rests.size(); ++i) {
        Ids& sequence = all[group.responses[i]];
        EXPECT_TRUE(sequence.empty());
        sequence = group.prefix;
        sequence.insert(sequence.end(), group.rests[i].begin(), group.rests[i].end());
      }
    }
    return all;
  }

  Ids expected(const std::string& text) const {
    Ids ids = tokenizer_.encode(text);
    ids.insert(ids.begin(), tokenizer_.bos_id());
    ids.push_back(tokenizer_.eos_id());
    return ids;
  }

  text::Tokenizer tokenizer_ = text::Tokenizer::load(std::filesystem::path(RRHF_SOURCE_DIR) / "data" / "quickstart");
  text::PromptTemplate template_ = text::PromptTemplate::named("none");
};

TEST_F(Sequences, AreOneTextWithBosAndEos) {
  const std::vector<std::string> responses{"That makes four.", "", "Leave me alone now."};
  const auto row = encoder({.join = " "}).encode(make_row("What is two plus two?", responses));
  const auto all = whole(row, 3);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(all[i], expected("What is two plus two? " + responses[i]));
  EXPECT_EQ(row.groups.size(), 1u);  // the prompt is there once
  EXPECT_EQ(row.cut, 0);
}

TEST_F(Sequences, SharesLessWhereTheSeamFallsInsideAToken) {
  // "hat" and "hall" begin with letters that one token may span.
  const auto row = encoder({}).encode(make_row("Say h", {"at", "all"}));
  const auto all = whole(row, 2);
  EXPECT_EQ(all[0], expected("Say hat"));
  EXPECT_EQ(all[1], expected("Say hall"));
}

TEST_F(Sequences, ApartTokenizesEachByItself) {
  const auto row = encoder({.joining = Joining::apart}).encode(make_row("Say h", {"at"}));
  Ids ids = tokenizer_.encode("Say h");
  ids.insert(ids.begin(), tokenizer_.bos_id());
  const Ids rest = tokenizer_.encode("at");
  ids.insert(ids.end(), rest.begin(), rest.end());
  ids.push_back(tokenizer_.eos_id());
  EXPECT_EQ(whole(row, 1)[0], ids);
  EXPECT_NE(ids, expected("Say hat"));
}

TEST_F(Sequences, GoWithoutEos) {
  const auto row = encoder({.eos = false}).encode(make_row("Say hat", {""}));
  Ids ids = expected("Say hat");
  ids.pop_back();
  EXPECT_EQ(whole(row, 1)[0], ids);
}

TEST_F(Sequences, StandInTheirTemplate) {
  const auto row = encoder({}, "alpaca").encode(make_row("Say hat", {"x"}));
  EXPECT_EQ(whole(row, 1)[0], expected(text::PromptTemplate::named("alpaca").apply("Say hat") + "x"));
  const auto wrapped = text::PromptTemplate::named("alpaca").apply("Say hat");
  EXPECT_NE(testing::input_error([&] { encoder({}, "alpaca").encode(make_row(wrapped, {"x"})); }), "");
}

TEST_F(Sequences, AreCutOnTheLeftAndKeepTheirBos) {
  const std::string shorter = "That makes four.", longer = "That makes four. I hope this helps. Have a nice day.";
  const auto room = std::ssize(expected("What is two plus two? " + shorter));
  const auto row =
      encoder({.join = " ", .max_length = room}).encode(make_row("What is two plus two?", {shorter, longer, shorter}));
  const auto all = whole(row, 3);
  EXPECT_EQ(row.cut, 1);
  EXPECT_EQ(row.groups.size(), 2u);
  EXPECT_EQ(all[0], expected("What is two plus two? " + shorter));  // exactly at the limit: whole
  const Ids full = expected("What is two plus two? " + longer);
  Ids cut(full.end() - (room - 1), full.end());
  cut.insert(cut.begin(), tokenizer_.bos_id());
  EXPECT_EQ(all[1], cut);
}

TEST_F(Sequences, StandAloneAboveTheSharedLength) {
  const auto row = encoder({.shared_until = 4}).encode(make_row("What is two plus two?", {"a", "b"}));
  EXPECT_EQ(row.groups.size(), 2u);
  EXPECT_EQ(row.cut, 0);
  EXPECT_EQ(whole(row, 2)[1], expected("What is two plus two?b"));
}

}  // namespace
}  // namespace rrhf::reward
