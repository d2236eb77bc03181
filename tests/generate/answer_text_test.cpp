#include "rrhf/generate/answer_text.h"

#include <gtest/gtest.h>

#include "tests/generate/support.h"

namespace rrhf::generate {
namespace {

using testing::tokenizer;

struct Told {
  std::vector<std::string> pieces;
  std::string all;
  bool stopped = false;
};

Told tell(const std::vector<std::int32_t>& ids, const std::vector<std::string>& stops) {
  AnswerText text(tokenizer(), stops);
  Told told;
  for (const std::int32_t id : ids) {
    told.pieces.emplace_back(text.add(id));
    told.all += told.pieces.back();
    told.stopped = text.stopped();
    if (told.stopped) break;
  }
  told.pieces.emplace_back(text.finish());
  told.all += told.pieces.back();
  EXPECT_EQ(told.all, text.text());
  return told;
}

std::vector<std::int32_t> ids_of(std::string_view text) { return tokenizer().encode(text); }

TEST(AnswerText, PiecesMakeUpTheText) {
  for (const char* text : {"Once upon a time, there was  a cat.", "a\nb\n\n c",
                           "caf\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80!", ""}) {
    const auto ids = ids_of(text);
    EXPECT_EQ(tell(ids, {}).all, tokenizer().decode(ids));
    EXPECT_EQ(tell(ids, {"### never"}).all, tokenizer().decode(ids));
  }
}

TEST(AnswerText, ACharacterOfSeveralBytesComesWhole) {
  const auto ids = ids_of("\xF0\x9F\x98\x80");  // four byte tokens behind the leading space
  ASSERT_GE(ids.size(), 4u);
  for (const std::string& piece : tell(ids, {}).pieces) {
    EXPECT_TRUE(piece.empty() || piece == "\xF0\x9F\x98\x80") << piece;
  }
  // Cut short, what is there is told at the end, as decode() has it.
  const std::vector<std::int32_t> cut(ids.begin(), ids.end() - 1);
  EXPECT_EQ(tell(cut, {}).all, tokenizer().decode(cut));
}

TEST(AnswerText, AStopStringMayLieAcrossTokens) {
  const auto ids = ids_of("yes ### Response: no");
  ASSERT_GT(ids.size(), 6u);
  const Told told = tell(ids, {"### Response:"});
  EXPECT_TRUE(told.stopped);
  EXPECT_EQ(told.all, "yes ");
  for (const std::string& piece : told.pieces) EXPECT_EQ(piece.find('#'), std::string::npos) << "told too early";
}

TEST(AnswerText, WhatOnlyLookedLikeAStopStringIsToldLater) {
  const Told told = tell(ids_of("a ## b"), {"###"});
  EXPECT_FALSE(told.stopped);
  EXPECT_EQ(told.all, "a ## b");
  EXPECT_EQ(tell(ids_of("a ##"), {"###"}).pieces.back(), "##") << "held back to the end";
}

TEST(AnswerText, TheFirstOfSeveralStopStringsCuts) {
  EXPECT_EQ(tell(ids_of("one two three"), {"three", "two", "e two"}).all, "on");
  EXPECT_EQ(tell(ids_of("one two three"), {"o"}).all, "");
}

TEST(AnswerText, SpecialTokensLeaveNothing) {
  std::vector<std::int32_t> ids = ids_of("one two");
  const std::string plain = tokenizer().decode(ids);
  ids.insert(ids.begin() + 1, tokenizer().bos_id());
  ids.insert(ids.begin(), tokenizer().bos_id());
  EXPECT_EQ(tell(ids, {}).all, plain);
  EXPECT_EQ(tell(ids, {}).all, tokenizer().decode(ids));
}

}  // namespace
}  // namespace rrhf::generate
