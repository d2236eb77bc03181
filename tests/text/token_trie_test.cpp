#include <gtest/gtest.h>

#include "rrhf/text/token_trie.h"

namespace rrhf::text {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const Pieces& tokens, std::string_view text) {
  TokenTrie trie;
  for (const std::string& token : tokens) trie.add(token);
  return trie.split(text);
}

TEST(TokenTrie, CutsAtTokens) {
  EXPECT_EQ(split({"</s>"}, "a</s> b</s>"), (Pieces{"a", "</s>", " b", "</s>"}));
  EXPECT_EQ(split({"</s>"}, "</s></s>"), (Pieces{"</s>", "</s>"}));
  EXPECT_EQ(split({"</s>"}, "no token </s"), (Pieces{"no token </s"}));
  EXPECT_EQ(split({"</s>"}, ""), Pieces{});
  EXPECT_EQ(split({}, "text"), (Pieces{"text"}));
  EXPECT_EQ(split({""}, "text"), (Pieces{"text"}));
}

TEST(TokenTrie, TakesTheLongestTokenOfOnePlace) {
  EXPECT_EQ(split({"id_1", "id_100"}, "x id_100"), (Pieces{"x ", "id_100"}));
  EXPECT_EQ(split({"id_1", "id_100"}, "x id_10"), (Pieces{"x ", "id_1", "0"}));
  EXPECT_EQ(split({"id_1", "id_100"}, "id_1 id_100 y"), (Pieces{"id_1", " ", "id_100", " y"}));
}

TEST(TokenTrie, TakesTheEarlierOfTwoThatOverlap) {
  EXPECT_EQ(split({"[CLS]", "L"}, "[CLS]"), (Pieces{"[CLS]"}));
  EXPECT_EQ(split({"blowing", "lower"}, "blower"), (Pieces{"b", "lower"}));
  EXPECT_EQ(split({"aa"}, "aaaaa"), (Pieces{"aa", "aa", "a"}));
}

// What transformers 4.57.6 gives: it looks ahead from the "ab" that "c" has just ended.
TEST(TokenTrie, HasTheQuirkOfTransformers) {
  EXPECT_EQ(split({"abX", "b"}, "1abcX2"), (Pieces{"1", "abcX", "2"}));
  EXPECT_EQ(split({"abX", "b"}, "1abc2"), (Pieces{"1a", "b", "c2"}));
}

TEST(TokenTrie, KeepsCharactersWhole) {
  EXPECT_EQ(split({"友達"}, "私の友達と友"), (Pieces{"私の", "友達", "と友"}));
  EXPECT_EQ(split({"é"}, "è é"), (Pieces{"è ", "é"}));  // è and é share their first byte
}

}  // namespace
}  // namespace rrhf::text
