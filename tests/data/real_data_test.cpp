// Real rows in every layout, against what is known of them.
#include <algorithm>

#include "rrhf/data/encode.h"
#include "rrhf/data/row_checks.h"
#include "tests/data/support.h"

namespace rrhf::data::testing {
namespace {

using Rows = std::vector<RankedExample>;

Rows read_shared(std::string_view name) { return usable_rows(shared(name)); }

std::vector<std::int64_t> rows_with_empty_response(const Rows& all) {
  std::vector<std::int64_t> rows;
  for (const auto& row : all) {
    if (!empty_responses(row).empty()) rows.push_back(row.where.row);
  }
  return rows;
}

TEST(RealData, AlpacaEvalK5) {
  RRHF_NEED_SHARED("data/alpaca_eval_k5.jsonl");
  const Rows rows = read_shared("data/alpaca_eval_k5.jsonl");
  EXPECT_EQ(rows.size(), 805u);
  EXPECT_EQ(rows_with_empty_response(rows), (std::vector<std::int64_t>{247, 504}));
  EXPECT_EQ(std::ranges::count_if(rows, [](const auto& row) { return !duplicate_responses(row).empty(); }), 22);
  EXPECT_TRUE(std::ranges::all_of(rows, [](const auto& row) { return row.responses.size() == 5; }));
}

TEST(RealData, AlpacaEvalAllIsCompressed) {
  RRHF_NEED_SHARED("data/alpaca_eval_all.jsonl.gz");
  RowReader reader(shared("data/alpaca_eval_all.jsonl.gz"), DataFormat::automatic);
  std::int64_t rows = 0;
  while (const auto row = reader.next()) {
    ++rows;
    EXPECT_TRUE(row->example);
  }
  EXPECT_EQ(rows, 805);
}

TEST(RealData, Vicuna80) {
  RRHF_NEED_SHARED("data/vicuna80_k5.jsonl");
  const Rows rows = read_shared("data/vicuna80_k5.jsonl");
  EXPECT_EQ(rows.size(), 79u);
}

TEST(RealData, HhHarmless) {
  RRHF_NEED_SHARED("data/hh-harmless-base-test.jsonl.gz");
  const Rows rows = read_shared("data/hh-harmless-base-test.jsonl.gz");
  EXPECT_EQ(rows.size(), 2312u);
  for (const auto& row : rows) {
    EXPECT_TRUE(row.query.ends_with("\n\nAssistant:"));
    EXPECT_EQ(row.scores, (std::vector<double>{1, 0}));
  }
}

TEST(RealData, Gpt4LlmV1) {
  RRHF_NEED_SHARED("data/gpt4llm_comparison_v1_layout.json");
  const Rows rows = read_shared("data/gpt4llm_comparison_v1_layout.json");
  EXPECT_EQ(rows.size(), 300u);
  const auto alpaca = text::PromptTemplate::named("alpaca");
  for (const auto& row : rows) EXPECT_TRUE(settings_mistake(row, alpaca, ResponseChoice::all));
}

TEST(RealData, Gpt4LlmV2) {
  RRHF_NEED_SHARED("data/gpt4llm_comparison_v2_layout.json");
  const Rows rows = read_shared("data/gpt4llm_comparison_v2_layout.json");
  EXPECT_EQ(rows.size(), 300u);
  EXPECT_EQ(rows_with_empty_response(rows), (std::vector<std::int64_t>{5, 247}));
  EXPECT_EQ(std::ranges::count_if(rows, [](const auto& row) { return !tied_responses(row).empty(); }), 279);
  const auto alpaca = text::PromptTemplate::named("alpaca");
  for (const auto& row : rows) {
    EXPECT_EQ(row.writers.size(), 3u);
    EXPECT_FALSE(settings_mistake(row, alpaca, ResponseChoice::all));
  }
}

TEST(RealData, ARowOfAnotherProjectIsRefused) {
  RRHF_NEED_SHARED("data/rrhf_row_zh.json");
  const std::string message = input_error([] { read_shared("data/rrhf_row_zh.json"); });
  EXPECT_NE(message.find("it has the keys prompt, response"), std::string::npos) << message;
}

TEST(RealData, WholeHhResponsesEnterUncutIn551RowsOfTheReleasedRecipe) {
  RRHF_NEED_SHARED("data/hh-harmless-base-test.jsonl.gz");
  RRHF_NEED_SHARED("tokenizers/llama/tokenizer.model");
  const Rows rows = read_shared("data/hh-harmless-base-test.jsonl.gz");
  const auto tokenizer = text::Tokenizer::load(shared("tokenizers/llama"));
  const auto none = text::PromptTemplate::named("none");
  const RowEncoder encoder(tokenizer, none, {.encoding = Encoding::released, .max_length = 192});
  std::int64_t uncut = 0;
  for (const auto& row : rows) {
    const auto query = std::get<EncodedQuery>(encoder.encode(row, 0));
    uncut += std::ssize(query.prompt) >= 191;
    EXPECT_LE(std::ssize(query.prompt), 192);
  }
  EXPECT_EQ(uncut, 551);
}

// What the packed layout saves over k padded rows, as the design states it for these rows.
TEST(RealData, PaddedOverPackedTokens) {
  RRHF_NEED_SHARED("data/alpaca_eval_k5.jsonl");
  RRHF_NEED_SHARED("tokenizers/llama/tokenizer.model");
  const Rows rows = read_shared("data/alpaca_eval_k5.jsonl");
  const auto tokenizer = text::Tokenizer::load(shared("tokenizers/llama"));
  const auto none = text::PromptTemplate::named("none");
  for (const auto& [max_length, ratio] : {std::pair(192, 1.74), std::pair(512, 2.08)}) {
    const RowEncoder encoder(tokenizer, none, {.max_length = max_length});
    double padded = 0;
    double packed = 0;
    for (const auto& row : rows) {
      const auto encoded = encoder.encode(row, 0);
      const auto* query = std::get_if<EncodedQuery>(&encoded);
      if (query == nullptr) continue;
      padded += static_cast<double>(query->padded_length * std::ssize(query->responses));
      packed += static_cast<double>(query->packed_tokens());
    }
    EXPECT_NEAR(padded / packed, ratio, 0.005) << "max_length " << max_length;
  }
}

}  // namespace
}  // namespace rrhf::data::testing
