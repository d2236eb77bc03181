// Token ids of both encodings. In LLaMA's vocabulary "Hello" is 15043, " world" 3186, <s> 1 and </s> 2.
#include "rrhf/data/encode.h"

#include "tests/data/support.h"

namespace rrhf::data::testing {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(StopResponse, CutsWhereTheDialogueGoesOn) {
  EXPECT_EQ(stop_response(" yes \n\nHuman: no"), "yes");
  EXPECT_EQ(stop_response("a\n\nassistant: b\n\nHuman: c"), "a");
  EXPECT_EQ(stop_response("a\n\nhuman:"), "a");
  EXPECT_EQ(stop_response("\n\nAssistant: a"), "");
}

TEST(StopResponse, LeavesOtherTextsUntouched) {
  EXPECT_EQ(stop_response(" a \n"), " a \n");
  EXPECT_EQ(stop_response("a\nHuman: b"), "a\nHuman: b");
}

TEST(StopResponse, LooksForEachTurnInWhatTheOneBeforeLeft) {
  // "\n\nHuman:" is looked for first; stripping then takes away the line ends that "\n\nassistant:" would need.
  EXPECT_EQ(stop_response("\n\nassistant: a\n\nHuman: b"), "assistant: a");
}

TEST(ChosenResponses, ProvidedAreTheLastTwo) {
  const auto as_pair = [](ResponseRange range) { return std::pair(range.first, range.size); };
  EXPECT_EQ(as_pair(chosen_responses(ResponseChoice::all, 6)), std::pair(std::size_t{0}, std::size_t{6}));
  EXPECT_EQ(as_pair(chosen_responses(ResponseChoice::provided, 6)), std::pair(std::size_t{4}, std::size_t{2}));
  EXPECT_EQ(as_pair(chosen_responses(ResponseChoice::sampled, 6)), std::pair(std::size_t{0}, std::size_t{4}));
  EXPECT_EQ(as_pair(chosen_responses(ResponseChoice::provided, 1)), std::pair(std::size_t{0}, std::size_t{1}));
  EXPECT_EQ(chosen_responses(ResponseChoice::sampled, 2).size, 0u);
}

class Encode : public ::testing::Test {
 protected:
  void SetUp() override {
    RRHF_NEED_SHARED("tokenizers/llama/tokenizer.model");
    tokenizer_.emplace(text::Tokenizer::load(shared("tokenizers/llama")));
  }

  std::variant<EncodedQuery, Skipped> encode(EncodeOptions options, std::vector<std::string> responses = {"Hello"},
                                             std::string query = "Hello world", CutReport* cut = nullptr) const {
    RankedExample row{.query = std::move(query),
                      .responses = std::move(responses),
                      .scores = {},
                      .writers = {},
                      .group = "g",
                      .where = {.file = "f", .row = 0, .line = 3, .byte = 0}};
    for (std::size_t i = 0; i < row.responses.size(); ++i) row.scores.push_back(static_cast<double>(i));
    return RowEncoder(*tokenizer_, template_, options).encode(row, 7, cut);
  }

  EncodedQuery query(EncodeOptions options, std::vector<std::string> responses = {"Hello"},
                     std::string text = "Hello world", CutReport* cut = nullptr) const {
    return std::get<EncodedQuery>(encode(options, std::move(responses), std::move(text), cut));
  }

  std::optional<text::Tokenizer> tokenizer_;
  text::PromptTemplate template_ = text::PromptTemplate::named("none");
};

constexpr EncodeOptions released{.encoding = Encoding::released};

EncodeOptions at(std::int64_t max_length, Encoding encoding) {
  return {.encoding = encoding, .max_length = max_length};
}

TEST_F(Encode, Plain) {
  const auto encoded = query({}, {"Hello", ""});
  EXPECT_EQ(encoded.prompt, (Ids{1, 15043, 3186}));
  EXPECT_EQ(encoded.responses, (std::vector<Ids>{{15043, 2}, {2}}));
  EXPECT_EQ(encoded.rewards, (std::vector<double>{0, 1}));
  EXPECT_EQ(encoded.padded_length, 5);    // 3 + 2
  EXPECT_EQ(encoded.label_count(), 3);    // 2 + 1
  EXPECT_EQ(encoded.packed_tokens(), 6);  // 3 + 2 + 1
  EXPECT_EQ(encoded.index, 7);
  EXPECT_EQ(encoded.group, "g");
}

TEST_F(Encode, ReleasedPutsABosBeforeEachResponse) {
  const auto encoded = query(released, {"Hello", ""});
  EXPECT_EQ(encoded.prompt, (Ids{1, 15043, 3186}));
  EXPECT_EQ(encoded.responses, (std::vector<Ids>{{1, 15043, 2}, {1, 2}}));
}

TEST_F(Encode, BosTokenEosStandsForEveryBos) {
  EXPECT_EQ(query({.bos_token = BosToken::eos}).prompt, (Ids{2, 15043, 3186}));
  const auto encoded = query({.encoding = Encoding::released, .bos_token = BosToken::eos});
  EXPECT_EQ(encoded.prompt, (Ids{2, 15043, 3186}));
  EXPECT_EQ(encoded.responses[0], (Ids{2, 15043, 2}));
}

TEST_F(Encode, ReleasedStripsTheWhiteSpaceBeforeItsEos) {
  EXPECT_EQ(query(released, {"Hello \n "}).responses[0], (Ids{1, 15043, 2}));
  EXPECT_GT(query({}, {"Hello \n "}).responses[0].size(), 2u);
}

TEST_F(Encode, LiteralSpecialTokens) {
  EXPECT_EQ(query({}, {"Hello</s>"}).responses[0], (Ids{15043, 2, 2}));
  EXPECT_EQ(query(released, {"Hello</s>"}).responses[0], (Ids{1, 15043, 2, 2}));
  for (const Encoding encoding : {Encoding::plain, Encoding::released}) {
    const EncodeOptions as_text{.encoding = encoding, .special_tokens = SpecialText::plain};
    const auto ids = query(as_text, {"Hello</s>"}).responses[0];
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 1) << "only the EOS at the end is id 2";
    EXPECT_EQ(ids.back(), 2);
  }
}

TEST_F(Encode, AResponseIsCutToTheRoomAndLosesItsEos) {
  CutReport cut;
  const auto encoded = query(at(4, Encoding::plain), {"Hello", ""}, "Hello world", &cut);
  EXPECT_EQ(encoded.responses, (std::vector<Ids>{{15043}, {2}}));
  EXPECT_EQ(cut.responses_cut, 1);
  EXPECT_EQ(cut.response_tokens, (std::vector<std::int64_t>{2, 1}));
  EXPECT_FALSE(cut.prompt_cut);
  EXPECT_EQ(query(at(5, Encoding::released)).responses[0], (Ids{1, 15043}));
}

TEST_F(Encode, PlainSkipsAQueryWithoutRoom) {
  CutReport cut;
  const auto encoded = encode(at(3, Encoding::plain), {"Hello"}, "Hello world", &cut);
  ASSERT_TRUE(std::holds_alternative<Skipped>(encoded));
  EXPECT_EQ(std::get<Skipped>(encoded).why,
            "the prompt's 3 tokens fill data.max_length 3: no token is left for a response");
  EXPECT_FALSE(cut.prompt_cut);
}

TEST_F(Encode, ReleasedNeverSkipsAndDoesNotCutAtRoomZeroAndOne) {
  for (const std::int64_t max_length : {3, 4}) {
    const auto encoded = query(at(max_length, Encoding::released));
    EXPECT_EQ(encoded.responses[0], (Ids{1, 15043, 2})) << "max_length " << max_length;
    EXPECT_EQ(encoded.padded_length, 6);
  }
}

TEST_F(Encode, APromptIsCutOnTheRight) {
  CutReport cut;
  const auto encoded = query(at(2, Encoding::released), {"Hello"}, "Hello world", &cut);
  EXPECT_EQ(encoded.prompt, (Ids{1, 15043}));
  EXPECT_TRUE(cut.prompt_cut);
  EXPECT_EQ(cut.prompt_tokens, 3);
}

TEST_F(Encode, DroppedResponsesCountInThePaddedLength) {
  const std::vector<std::string> responses{"Hello world world", "Hello", ""};
  const auto encoded = query({.responses = ResponseChoice::provided}, responses);
  EXPECT_EQ(encoded.responses, (std::vector<Ids>{{15043, 2}, {2}}));
  EXPECT_EQ(encoded.rewards, (std::vector<double>{1, 2}));
  EXPECT_EQ(encoded.padded_length, 7);  // 3 + [Hello, world, world, EOS]
  EXPECT_EQ(query({.responses = ResponseChoice::sampled}, responses).responses.size(), 1u);
}

TEST_F(Encode, ResponsesThatLeaveNothingAreAnError) {
  const std::string message = input_error([&] { encode({.responses = ResponseChoice::sampled}, {"Hello", "world"}); });
  EXPECT_NE(message.find("f:3: data.responses sampled leaves nothing of 2 responses"), std::string::npos) << message;
}

TEST_F(Encode, StopResponseAppliesBeforeTokenizing) {
  EXPECT_EQ(query({.stop_response = true}, {" Hello\n\nHuman: world"}).responses[0], (Ids{15043, 2}));
}

TEST_F(Encode, AnAlpacaPromptIsNotWrappedTwice) {
  const auto alpaca = text::PromptTemplate::named("alpaca");
  RankedExample row{.query = alpaca.apply("Hello"),
                    .responses = {"a"},
                    .scores = {1},
                    .writers = {},
                    .group = "",
                    .where = {.file = "v1.json", .row = 2, .line = 0, .byte = 40}};
  const RowEncoder encoder(*tokenizer_, alpaca, {});
  const std::string message = input_error([&] { encoder.encode(row, 0); });
  EXPECT_NE(message.find("v1.json row 2 (byte 40)"), std::string::npos) << message;
  EXPECT_NE(message.find("set data.template to none"), std::string::npos) << message;
  EXPECT_NO_THROW(RowEncoder(*tokenizer_, template_, {}).encode(row, 0));
}

}  // namespace
}  // namespace rrhf::data::testing
