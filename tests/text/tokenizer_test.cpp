#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "rrhf/core/file.h"
#include "rrhf/text/tokenizer.h"
#include "tests/text/support.h"

namespace rrhf::text {
namespace {

using Ids = std::vector<std::int32_t>;
using testing::holds;
using testing::llama_folder;

// Ids of LLaMA's vocabulary: 15043 "▁Hello", 3186 "▁world", 11526 "world", 29871 "▁", 259 "▁▁", 13 the byte of a line
// feed, 869 "▁.", 29889 ".".
class TokenizerTest : public testing::WithLlamaVocabulary {
 protected:
  Tokenizer with(std::string_view name, std::string_view content) {
    folder_.write(name, content);
    return Tokenizer::load(folder_.path());
  }
  Tokenizer bare() { return Tokenizer::load(folder_.path()); }
};

// The blocks of llama.cpp's case file: each ends with "\n__ggml_vocab_test__\n".
std::vector<std::string> case_texts(const std::string& file) {
  constexpr std::string_view end = "\n__ggml_vocab_test__\n";
  std::vector<std::string> texts;
  std::size_t start = 0;
  for (std::size_t at = file.find(end); at != std::string::npos; at = file.find(end, start)) {
    texts.push_back(file.substr(start, at - start));
    start = at + end.size();
  }
  return texts;
}

std::vector<Ids> case_ids(const std::string& file) {
  std::vector<Ids> rows;
  std::istringstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream numbers(line);
    rows.emplace_back(std::istream_iterator<std::int32_t>(numbers), std::istream_iterator<std::int32_t>());
  }
  return rows;
}

TEST_F(TokenizerTest, AgreesWithLlamaCpp) {
  const auto texts = case_texts(read_file(llama_folder() / "ggml-vocab-llama-spm.gguf.inp"));
  const auto rows = case_ids(read_file(llama_folder() / "ggml-vocab-llama-spm.gguf.out"));
  ASSERT_EQ(texts.size(), rows.size());
  ASSERT_GT(texts.size(), 40u);
  const Tokenizer tokenizer = bare();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(tokenizer.encode(texts[i], SpecialHandling::plain), rows[i]) << i << ": " << texts[i];
    EXPECT_EQ(tokenizer.encode(texts[i], SpecialHandling::parse), rows[i]) << i << ": " << texts[i];
  }
}

TEST_F(TokenizerTest, KnowsItsOwnSpecialTokens) {
  const Tokenizer tokenizer = bare();
  EXPECT_EQ(tokenizer.unk_id(), 0);
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
  EXPECT_EQ(tokenizer.size(), 32000);
  EXPECT_EQ(tokenizer.piece(15043), "▁Hello");
  EXPECT_EQ(tokenizer.piece(13), "<0x0A>");
  EXPECT_EQ(tokenizer.piece(32000), "<?>");
  EXPECT_EQ(tokenizer.piece(-1), "<?>");
}

TEST_F(TokenizerTest, ParsesLiteralSpecialTokensOrDoesNot) {
  const Tokenizer tokenizer = bare();
  EXPECT_EQ(tokenizer.encode("</s>"), (Ids{2}));
  EXPECT_EQ(tokenizer.encode("<s>Hello</s>"), (Ids{1, 15043, 2}));
  // "</s>" as ordinary text: "▁</", "s", ">"
  EXPECT_EQ(tokenizer.encode("</s>", SpecialHandling::plain), (Ids{1533, 29879, 29958}));
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.encode("", SpecialHandling::parse_strip), Ids{});
  EXPECT_EQ(tokenizer.encode("", SpecialHandling::plain), Ids{});
}

// The two examples in the documentation of transformers' LlamaTokenizer.
TEST_F(TokenizerTest, LegacyPutsASpaceBeforeEveryPieceOfText) {
  EXPECT_EQ(bare().encode("Hello <s>."), (Ids{15043, 29871, 1, 869}));
}

TEST_F(TokenizerTest, WithoutLegacyOnlyTheTextAsAWholeGetsASpace) {
  const Tokenizer tokenizer = with("tokenizer_config.json", R"({"legacy": false})");
  EXPECT_EQ(tokenizer.encode("Hello <s>."), (Ids{15043, 29871, 1, 29889}));
  EXPECT_EQ(tokenizer.encode("<s>Hello"), (Ids{1, 10994}));  // "Hello", and no "▁" before <s>
}

TEST_F(TokenizerTest, AddPrefixSpaceCanBeTurnedOff) {
  const Tokenizer tokenizer = with("tokenizer_config.json", R"({"legacy": false, "add_prefix_space": false})");
  EXPECT_EQ(tokenizer.encode("Hello"), (Ids{10994}));
  EXPECT_EQ(tokenizer.encode(" Hello"), (Ids{15043}));
}

TEST_F(TokenizerTest, StripDropsWhiteSpaceAroundSpecialTokens) {
  const Tokenizer tokenizer = bare();
  const auto strip = [&](std::string_view text) { return tokenizer.encode(text, SpecialHandling::parse_strip); };
  EXPECT_EQ(strip("Hello \n\t</s>"), (Ids{15043, 2}));
  EXPECT_EQ(strip("Hello\u00a0\u3000</s> \u2028Hello"), (Ids{15043, 2, 15043}));
  EXPECT_EQ(strip("</s>  \n </s>"), (Ids{2, 2}));           // white space between two is gone
  EXPECT_EQ(strip(" Hello "), (Ids{29871, 15043, 29871}));  // no special token, nothing stripped
  // The 4.57 rule keeps it: " \n" is "▁▁" and the line feed's byte.
  EXPECT_EQ(tokenizer.encode("Hello</s> \n"), (Ids{15043, 2, 259, 13}));
}

TEST_F(TokenizerTest, StripFollowsTheFlagsOfTokensSpelledAsObjects) {
  const Tokenizer tokenizer =
      with("special_tokens_map.json", R"({"eos_token": {"content": "</s>", "lstrip": true, "rstrip": false}})");
  EXPECT_EQ(tokenizer.encode("Hello </s> \nHello", SpecialHandling::parse_strip), (Ids{15043, 2, 259, 13, 10994}));
  EXPECT_EQ(tokenizer.encode("Hello <s> Hello", SpecialHandling::parse_strip), (Ids{15043, 1, 15043}));
}

TEST_F(TokenizerTest, AnAddedPadIsTheFirstIdBehindTheVocabulary) {
  folder_.write("special_tokens_map.json", R"({"pad_token": "[PAD]"})");
  const Tokenizer tokenizer = with("added_tokens.json", R"({"[PAD]": 32000})");
  EXPECT_EQ(tokenizer.pad_id(), 32000);
  EXPECT_EQ(tokenizer.size(), 32001);
  EXPECT_EQ(tokenizer.encode("Hello[PAD]Hello"), (Ids{15043, 32000, 15043}));
  EXPECT_EQ(tokenizer.piece(32000), "[PAD]");
  EXPECT_EQ(tokenizer.decode(Ids{15043, 32000}), "Hello");
}

TEST_F(TokenizerTest, ADeclaredTokenThatIsNowhereGetsTheNextId) {
  const Tokenizer tokenizer = with("special_tokens_map.json", R"({"pad_token": "[PAD]"})");
  EXPECT_EQ(tokenizer.pad_id(), 32000);
  EXPECT_EQ(tokenizer.size(), 32001);
}

TEST_F(TokenizerTest, TheReleaseDeclaresOneTokenForThreeRoles) {
  const Tokenizer tokenizer =
      with("special_tokens_map.json", R"({"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"})");
  EXPECT_EQ(tokenizer.bos_id(), 2);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.unk_id(), 2);
  EXPECT_EQ(tokenizer.size(), 32000);
  EXPECT_NE(tokenizer.encode("<s>"), (Ids{1}));  // no longer declared: ordinary text
}

TEST_F(TokenizerTest, EmptyAndNullDeclarationsLeaveSentencePiecesOwnIds) {
  folder_.write("tokenizer_config.json", R"({"bos_token": "", "eos_token": "", "unk_token": "", "pad_token": null})");
  const Tokenizer tokenizer = with("special_tokens_map.json", R"({"bos_token": null})");
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.unk_id(), 0);
  EXPECT_EQ(tokenizer.encode("Hello"), (Ids{15043}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 15043, 2}), "Hello");
}

TEST_F(TokenizerTest, TheDecoderOfTokenizerConfigRulesAlone) {
  folder_.write("added_tokens.json", R"({"[PAD]": 32000})");
  const Tokenizer tokenizer = with("tokenizer_config.json", R"({"added_tokens_decoder": {
      "2": {"content": "</s>", "lstrip": false, "rstrip": true, "single_word": false, "special": true},
      "32000": {"content": "<word>", "lstrip": false, "rstrip": false, "single_word": true, "special": false}},
      "eos_token": "</s>"})");
  EXPECT_EQ(tokenizer.piece(32000), "<word>");
  EXPECT_EQ(tokenizer.encode("</s>  \n Hello"), (Ids{2, 15043}));  // rstrip
  EXPECT_EQ(tokenizer.encode("Hello <word>"), (Ids{15043, 29871, 32000}));
  EXPECT_EQ(std::ranges::count(tokenizer.encode("Hello<word>"), 32000), 0);  // touches a word: no token
}

TEST_F(TokenizerTest, ExtraSpecialTokensGetTheNextIdsInTheirOrder) {
  const Tokenizer tokenizer = with("tokenizer_config.json", R"({"additional_special_tokens": ["<a>"],
      "extra_special_tokens": {"z_token": "<z>", "b_token": {"content": "<b>", "lstrip": true}, "eos": "</s>", "no": ""}})");
  EXPECT_EQ(tokenizer.size(), 32003);
  EXPECT_EQ(tokenizer.encode("<a><z> <b>"), (Ids{32000, 32001, 32002}));  // lstrip
  EXPECT_EQ(tokenizer.decode(Ids{15043, 32001, 32002}), "Hello");
  const Tokenizer listed = with("tokenizer_config.json", R"({"extra_special_tokens": ["<z>", {"content": "<b>"}]})");
  EXPECT_EQ(listed.encode("<z><b>"), (Ids{32000, 32001}));
}

TEST_F(TokenizerTest, RoundTripsWhatItEncodes) {
  const Tokenizer tokenizer = bare();
  for (const std::string text : {"Hello world", "line\n\nbreaks\t", "trailing  ", "你好，世界 🦙",
                                 "\u200b e\u0301", "code:\n    if (x) { y(); }\n"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << text;
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a▁b")), "a b");  // SentencePiece spells a space "▁"
  // transformers takes the space before a text off, and SentencePiece then takes off another.
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("  two spaces")), " two spaces");
}

TEST_F(TokenizerTest, DecodesSpecialTokensOnRequest) {
  const Tokenizer tokenizer = bare();
  EXPECT_EQ(tokenizer.decode(Ids{1, 15043, 3186, 2}), "Hello world");
  EXPECT_EQ(tokenizer.decode(Ids{1, 15043, 2}, false), "<s> Hello</s>");  // as transformers' own documentation has it
  EXPECT_EQ(tokenizer.decode(Ids{}), "");
  EXPECT_EQ(tokenizer.decode(Ids{15043, 40000, -1}), "Hello");
  EXPECT_EQ(tokenizer.decode(Ids{15043, 40000}, false), "Hello<?>");
  EXPECT_EQ(tokenizer.decode(Ids{15043, 3 + 0xe4}), "Hello\ufffd");  // the byte E4 alone is no UTF-8
}

TEST_F(TokenizerTest, ReplacesInvalidUtf8) {
  const Tokenizer tokenizer = bare();
  EXPECT_EQ(tokenizer.encode("a\xff"), tokenizer.encode("a\ufffd"));
}

TEST_F(TokenizerTest, ListsItsFiles) {
  folder_.write("added_tokens.json", "{}");
  folder_.write("config.json", "{}");
  const auto files = tokenizer_files(folder_.path());
  EXPECT_EQ(files, (std::vector{folder_.path() / "tokenizer.model", folder_.path() / "added_tokens.json"}));
}

class TokenizerErrors : public TokenizerTest {
 protected:
  std::string error() {
    return testing::error_of([&] { Tokenizer::load(folder_.path()); });
  }
  std::string error_with(std::string_view name, std::string_view content) {
    folder_.write(name, content);
    return error();
  }
};

TEST_F(TokenizerErrors, NamesBrokenSmallFiles) {
  EXPECT_TRUE(holds(error_with("added_tokens.json", "{"), "added_tokens.json: not JSON"));
  EXPECT_TRUE(holds(error_with("added_tokens.json", "[1]"), "added_tokens.json is an array of 1"));
  EXPECT_TRUE(holds(error_with("added_tokens.json", R"({"[PAD]": "x"})"), "\"[PAD]\" is a string; an id is needed"));
  EXPECT_TRUE(holds(error_with("added_tokens.json", R"({"[PAD]": -1})"), "has the id -1"));
  EXPECT_TRUE(holds(error_with("added_tokens.json", R"({"[PAD]": 99999999999})"), "has the id 99999999999"));
  EXPECT_TRUE(holds(error_with("added_tokens.json", R"({"a": 32000, "b": 32000})"), "also that of \"a\""));
}

TEST_F(TokenizerErrors, NamesBrokenSettings) {
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"legacy": 3})"), "\"legacy\" is the number 3"));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"bos_token": 3})"), "\"bos_token\" is the number 3"));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"bos_token": {}})"), "\"bos_token\" is an object"));
  EXPECT_TRUE(
      holds(error_with("tokenizer_config.json", R"({"additional_special_tokens": "x"})"), "an array is needed"));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"added_tokens_decoder": []})"), "an array of 0"));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"added_tokens_decoder": {"x": "y"}})"), "the key \"x\""));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"sp_model_kwargs": {"alpha": 1}})"), "sp_model_kwargs"));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"extra_special_tokens": 3})"),
                    "\"extra_special_tokens\" is the number 3; an object of names and tokens is needed, or a list"));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"extra_special_tokens": ["<x>", 3]})"),
                    "element 1 is the number 3"));
  EXPECT_TRUE(
      holds(error_with("tokenizer_config.json", R"({"extra_special_tokens": {"x": 3}})"), "\"x\" is the number 3"));
  EXPECT_TRUE(holds(error_with("tokenizer_config.json", R"({"extra_special_tokens": {"pad_token": "x"}})"),
                    "has a \"pad_token\"; that role is declared beside it"));
  folder_.write("tokenizer_config.json", R"({"extra_special_tokens": []})");
  EXPECT_NO_THROW(Tokenizer::load(folder_.path()));
}

TEST_F(TokenizerErrors, ListsEveryContradictionAtOnce) {
  const std::string message = error_with("added_tokens.json", R"({"[PAD]": 5, "[X]": 32002})");
  EXPECT_TRUE(holds(message, "\"[PAD]\" has the id 5, which is \"<0x02>\" in tokenizer.model"));
  EXPECT_TRUE(holds(message, "\"[X]\" has the id 32002, and nothing has the id 32000"));
}

TEST_F(TokenizerErrors, TellsABrokenModel) {
  const std::string whole = read_file(folder_.path() / "tokenizer.model");
  EXPECT_TRUE(holds(error_with("tokenizer.model", ""), "not a SentencePiece model (0 bytes)"));
  EXPECT_TRUE(holds(error_with("tokenizer.model", "not a model"), "not a SentencePiece model"));
  EXPECT_TRUE(holds(error_with("tokenizer.model", whole.substr(0, whole.size() / 2 + 3)), "not a SentencePiece model"));
  EXPECT_TRUE(holds(error_with("tokenizer.model", "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"));
}

TEST(TokenizerFolder, TellsWhyThereIsNoModel) {
  const testing::TemporaryFolder folder;
  const auto error = [&](const std::filesystem::path& path) {
    return testing::error_of([&] { Tokenizer::load(path); });
  };
  EXPECT_TRUE(holds(error(folder.path() / "absent"), "no such folder"));
  EXPECT_TRUE(holds(error(folder.path()), "has no tokenizer.model"));
  folder.write("tokenizer.json", "{}");
  EXPECT_TRUE(holds(error(folder.path()), "has only the fast tokenizer.json"));
}

}  // namespace
}  // namespace rrhf::text
