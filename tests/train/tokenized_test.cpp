// Files become the same sets from memory, from a cache that is made and from one that is found.
#include "rrhf/train/tokenized.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <thread>

#include "rrhf/core/file.h"
#include "rrhf/train/encoded_set.h"
#include "rrhf/train/inputs.h"
#include "tests/text/support.h"

namespace rrhf::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* ranked =
    "{\"query\": \"Name a fruit.\", \"responses\": [\"An apple.\", \"Fruit\", \"\"], \"scores\": [3, 0.5, 2], "
    "\"group\": "
    "\"short\"}\n\n"
    "{\"query\": \"What is 2 + 2?\", \"responses\": [\"4\", \"Four.\"], \"scores\": [1, 1]}\n";

class TokenizedFilesTest : public text::testing::WithLlamaVocabulary {
 protected:
  void SetUp() override {
    WithLlamaVocabulary::SetUp();
    if (IsSkipped()) return;
    tokenizer_.emplace(text::Tokenizer::load(folder_.path()));
    file_ = folder_.write("ranked.jsonl", ranked).string();
    config_.data.cache = (folder_.path() / "cache").string();
  }

  std::shared_ptr<const TokenizedFiles> tokenize() const {
    return tokenize_files({file_}, folder_.path(), *tokenizer_, config_);
  }
  std::shared_ptr<const TokenizedFiles> tokenize_with(const std::function<void(config::RunConfig&)>& change) const {
    config::RunConfig config = config_;
    change(config);
    return tokenize_files({file_}, folder_.path(), *tokenizer_, config);
  }
  std::ptrdiff_t kept() const {
    const fs::path cache = config_.data.cache;
    return fs::exists(cache) ? std::distance(fs::directory_iterator(cache), fs::directory_iterator()) : 0;
  }
  static std::string said(const std::function<void()>& act) {
    ::testing::internal::CaptureStderr();
    act();
    return ::testing::internal::GetCapturedStderr();
  }

  std::optional<text::Tokenizer> tokenizer_;
  std::string file_;
  config::RunConfig config_;
};

TEST_F(TokenizedFilesTest, AreTheSameFromMemoryAndFromTheCacheColdAndWarm) {
  const auto memory = tokenize_with([](auto& config) { config.data.cache = "off"; });
  EXPECT_EQ(kept(), 0);
  const auto cold = tokenize();
  EXPECT_EQ(kept(), 1);
  const auto warm = tokenize();
  EXPECT_EQ(kept(), 1);
  for (const auto& files : {memory, cold, warm}) {
    ASSERT_EQ(files->rows.size(), 2);
    for (std::int64_t row = 0; row < 2; ++row) {
      const data::EncodedQuery query = files->rows.query(row), expected = memory->rows.query(row);
      EXPECT_EQ(query.prompt, expected.prompt);
      EXPECT_EQ(query.responses, expected.responses);
      EXPECT_EQ(query.rewards, expected.rewards);
      EXPECT_EQ(query.padded_length, expected.padded_length);
      EXPECT_EQ(query.group, expected.group);
    }
  }
  EXPECT_EQ(warm->rows.query(0).prompt, (std::vector<std::int32_t>{1, 4408, 263, 15774, 29889}));
  EXPECT_EQ(warm->rows.query(0).group, "short");
}

TEST_F(TokenizedFilesTest, TheKeySeesAllThatTokensDependOn) {
  tokenize();
  std::ptrdiff_t expected = 1;
  const auto another = [&](const std::function<void(config::RunConfig&)>& change) {
    tokenize_with(change);
    EXPECT_EQ(kept(), ++expected);
  };
  another([](auto& config) { config.data.max_length = 77; });
  another([](auto& config) { config.data.encoding = Encoding::released; });
  another([](auto& config) { config.data.bos_token = BosToken::eos; });
  another([](auto& config) { config.data.special_tokens = SpecialText::plain; });
  another([](auto& config) { config.data.responses = ResponseChoice::provided, config.objective.rank_loss = "none"; });
  another([](auto& config) { config.data.stop_response = true; });
  another([](auto& config) { config.data.format = DataFormat::rrhf; });
  another([](auto& config) { config.data.template_name = "alpaca"; });
  another([](auto& config) { config.data.template_name = "alpaca-split"; });
  const std::string words = folder_.write("words.txt", "Q: {query} A:").string();
  another([&](auto& config) { config.data.template_name = words; });
  folder_.write("words.txt", "Question: {query} A:");
  another([&](auto& config) { config.data.template_name = words; });
  folder_.write("special_tokens_map.json", "{}");
  another([](auto&) {});
  folder_.write("ranked.jsonl", std::string(ranked) + ranked);
  another([](auto&) {});
}

TEST_F(TokenizedFilesTest, TheKeyDoesNotSeeWhatTokensDoNotDependOn) {
  tokenize();
  tokenize_with([](auto& config) {
    config.train.seed = 7;
    config.data.eval_fraction = 0.5;
    config.data.shuffle = false;
    config.objective.rank_loss = "none";
  });
  const fs::path moved = folder_.path() / "moved.jsonl";
  fs::rename(file_, moved);
  const auto found = tokenize_files({moved.string()}, folder_.path(), *tokenizer_, config_);
  EXPECT_EQ(kept(), 1);
  EXPECT_EQ(found->rows.size(), 2);
}

TEST_F(TokenizedFilesTest, MessagesAreSaidAgainWithTheFilesPresentName) {
  const std::string cold = said([&] { tokenize(); });
  EXPECT_NE(cold.find("2 notes on the data, the first: " + file_ + ":1: response 2 is empty"), std::string::npos)
      << cold;
  const fs::path moved = folder_.path() / "moved.jsonl";
  fs::rename(file_, moved);
  file_ = moved.string();
  const std::string warm = said([&] { tokenize(); });
  EXPECT_NE(warm.find("2 notes on the data, the first: " + file_ + ":1: response 2 is empty"), std::string::npos)
      << warm;
}

TEST_F(TokenizedFilesTest, MissingPairsAreNotSaidToOneWhoDoesNotRank) {
  folder_.write("ranked.jsonl",
                "{\"query\": \"q\", \"responses\": [\"a\"], \"scores\": [1]}\n"
                "{\"query\": \"r\", \"responses\": [\"a\", \"b\", \"\"], \"scores\": [2, 1, 1]}\n");
  for (int time = 0; time < 2; ++time) {  // read, and found in the cache
    const std::string ranking = said([&] { tokenize(); });
    EXPECT_NE(ranking.find("3 notes on the data, the first: " + file_ + ":1: one response"), std::string::npos)
        << ranking;
    const std::string tuning = said([&] { tokenize_with([](auto& config) { config.objective.rank_loss = "none"; }); });
    EXPECT_NE(tuning.find("warning: " + file_ + ":2: response 2 is empty"), std::string::npos) << tuning;
    EXPECT_EQ(tuning.find("notes on the data"), std::string::npos) << tuning;
  }
  EXPECT_EQ(kept(), 1);
  folder_.write("ranked.jsonl", "{\"query\": \"q\", \"responses\": [\"a\", \"b\", \"c\"], \"scores\": [2, 2, 1]}\n");
  EXPECT_NE(said([&] {
              tokenize_with([](auto& config) { config.objective.rank_loss = "none"; });
            }).find("scores of responses 0 and 1 tie (2)"),
            std::string::npos)
      << "which of the two best is learned";
}

TEST_F(TokenizedFilesTest, AFileWithoutAPairIsRefusedFromTheCacheToo) {
  folder_.write("ranked.jsonl", "{\"query\": \"q\", \"responses\": [\"a\", \"b\"], \"scores\": [1, 1]}\n");
  for (int time = 0; time < 2; ++time) {
    EXPECT_TRUE(rrhf::testing::holds(rrhf::testing::error_of([&] { tokenize(); }), "no pair in the whole file"));
  }
  EXPECT_EQ(tokenize_with([](auto& config) { config.objective.rank_loss = "none"; })->rows.size(), 1);
  EXPECT_EQ(kept(), 1);
}

TEST_F(TokenizedFilesTest, BrokenRowsAreRefusedAndNothingIsKept) {
  folder_.write("ranked.jsonl", std::string(ranked) + "{}\n");
  EXPECT_TRUE(rrhf::testing::holds(rrhf::testing::error_of([&] { tokenize(); }), file_ + ":4: "));
  EXPECT_EQ(kept(), 0);
}

TEST_F(TokenizedFilesTest, SkippedRowsKeepTheirPlace) {
  const std::string other = folder_.write("other.jsonl", std::string(ranked) + ranked).string();
  config_.data.max_length = 6;  // "What is 2 + 2?" fills it
  for (int time = 0; time < 2; ++time) {
    EncodedSet set;
    set.add(tokenize_files({file_, other}, folder_.path(), *tokenizer_, config_));
    EXPECT_EQ(set.rows(), 6);
    ASSERT_EQ(set.size(), 3);
    EXPECT_EQ(set.query(1).index, 2);
    const std::vector<SkippedRow> skipped = set.skipped();
    ASSERT_EQ(skipped.size(), 3u);
    EXPECT_EQ(skipped[0].index, 1);
    EXPECT_EQ(skipped[0].where.text(), file_ + ":3");
    EXPECT_NE(skipped[0].why.find("no token is left for a response"), std::string::npos);
    EXPECT_EQ(skipped[1].where.text(), other + ":3");
    EXPECT_EQ(skipped[2].index, 5);
  }
}

TEST_F(TokenizedFilesTest, AFileThatChangesMeanwhileIsRefused) {
  std::string rows;
  for (int i = 0; i < 3000; ++i) rows += ranked;
  folder_.write("ranked.jsonl", rows);
  std::atomic<bool> done = false;
  const std::jthread toucher([&] {
    while (!done) {
      fs::last_write_time(file_, fs::file_time_type::clock::now());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  const std::string message = rrhf::testing::error_of([&] { tokenize(); });
  done = true;
  EXPECT_TRUE(rrhf::testing::holds(message, file_ + ": was changed while it was read"));
  EXPECT_EQ(kept(), 0);
}

TEST_F(TokenizedFilesTest, SmallFilesAreNotKeptWithoutBeingAsked) {
  config_.data.cache = "auto";
  const fs::path home = folder_.path() / "home";
  ::setenv("XDG_CACHE_HOME", home.c_str(), 1);
  tokenize();
  EXPECT_FALSE(fs::exists(home));
  // Empty lines are no rows, but bytes.
  folder_.write("ranked.jsonl", ranked + std::string(static_cast<std::size_t>(least_cached_bytes), '\n'));
  tokenize();
  EXPECT_EQ(std::distance(fs::directory_iterator(home / "rrhf" / "tokens"), fs::directory_iterator()), 1);
  fs::remove_all(home);
  folder_.write("home", "no folder");
  EXPECT_TRUE(rrhf::testing::holds(said([&] { EXPECT_EQ(tokenize()->rows.size(), 2); }), "tokens are kept in memory"));
  ::unsetenv("XDG_CACHE_HOME");
}

TEST_F(TokenizedFilesTest, ASetMayHoldPartsOfSeveralFiles) {
  const auto files = tokenize();
  EncodedSet set;
  set.add(files, {false, true}, true);
  set.add(files);
  ASSERT_EQ(set.size(), 3);
  EXPECT_EQ(set.query(0).prompt, files->rows.query(1).prompt);
  EXPECT_EQ(set.query(2).prompt, files->rows.query(1).prompt);
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(set.query(i).index, i + 1);  // row 0 counts, though it is not there
  EXPECT_EQ(set.group(1), "short");
  EXPECT_DOUBLE_EQ(set.mean_responses(), 7 / 3.0);
  EXPECT_EQ(set.packed_tokens(), set.size_of(0).packed() + set.size_of(1).packed() + set.size_of(2).packed());
}

}  // namespace
}  // namespace rrhf::train
