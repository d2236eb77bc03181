#include "rrhf/data/token_rows.h"

#include <cstring>
#include <functional>

#include "rrhf/core/file.h"
#include "tests/data/support.h"

namespace rrhf::data::testing {
namespace {

using rrhf::testing::error_of;
using rrhf::testing::holds;

const std::string key(64, 'a');

EncodedQuery query_of(std::vector<std::int32_t> prompt, std::vector<std::vector<std::int32_t>> responses,
                      std::vector<double> rewards, std::int64_t padded_length, std::string group = "") {
  return {.prompt = std::move(prompt),
          .responses = std::move(responses),
          .rewards = std::move(rewards),
          .padded_length = padded_length,
          .index = 0,
          .group = std::move(group)};
}

RowFacts facts_of(std::int64_t rows) {
  return {.files = {{rows, true}, {0, false}},
          .notes = {2, 1, {{}, 5, 7, 11}, "response 0 is empty \xC3\xA9"},
          .pair_notes = {3, 0, {{}, 1, 2, 4}, "one response"}};
}

// Two usable rows and a skipped one between them.
std::string bytes_of_three_rows(std::int64_t vocabulary, const std::string& own_key = "") {
  std::string bytes;
  TokenWriter writer([&](std::string_view piece) { bytes += piece; }, own_key, vocabulary);
  const auto last = static_cast<std::int32_t>(vocabulary - 1);
  writer.add(query_of({1, last}, {{3}, {4, 5, 6}}, {0.1, -1e300}, 9, "group \xC3\xA9"));
  writer.add(Skipped{"no token is left"}, {"rows.jsonl", 1, 3, 0});
  writer.add(query_of({1}, {{2}}, {3}, 2));
  EXPECT_EQ(writer.rows(), 3);
  writer.finish(facts_of(3));
  return bytes;
}

void expect_three_rows(const TokenRows& rows, std::int32_t last) {
  ASSERT_EQ(rows.size(), 3);
  EXPECT_FALSE(rows.skipped(0));
  EXPECT_TRUE(rows.skipped(1));
  EXPECT_FALSE(rows.skipped(2));
  const EncodedQuery first = rows.query(0);
  EXPECT_EQ(first.prompt, (std::vector<std::int32_t>{1, last}));
  EXPECT_EQ(first.responses, (std::vector<std::vector<std::int32_t>>{{3}, {4, 5, 6}}));
  EXPECT_EQ(first.rewards, (std::vector<double>{0.1, -1e300}));
  EXPECT_EQ(first.padded_length, 9);
  EXPECT_EQ(first.group, "group \xC3\xA9");
  EXPECT_EQ(rows.group(0), "group \xC3\xA9");
  EXPECT_EQ(rows.size_of(0).prompt, 2);
  EXPECT_EQ(rows.size_of(0).labels, 4);
  EXPECT_EQ(rows.size_of(0).responses, 2);
  EXPECT_EQ(rows.padded_length(0), 9);
  EXPECT_EQ(rows.where(1).row, 1);
  EXPECT_EQ(rows.where(1).line, 3);
  EXPECT_EQ(rows.where(1).byte, 0u);
  EXPECT_EQ(rows.why(1), "no token is left");
  EXPECT_EQ(rows.query(2).responses, (std::vector<std::vector<std::int32_t>>{{2}}));
  EXPECT_EQ(rows.query(2).index, 2);
  EXPECT_EQ(rows.group(2), "");
  const RowFacts& facts = rows.facts();
  EXPECT_EQ(facts.files, facts_of(3).files);
  EXPECT_EQ(facts.notes.count, 2);
  EXPECT_EQ(facts.notes.file, 1u);
  EXPECT_EQ(facts.notes.where.row, 5);
  EXPECT_EQ(facts.notes.where.line, 7);
  EXPECT_EQ(facts.notes.where.byte, 11u);
  EXPECT_EQ(facts.notes.message, "response 0 is empty \xC3\xA9");
  EXPECT_EQ(facts.pair_notes.count, 3);
  EXPECT_EQ(facts.pair_notes.where.row, 1);
  EXPECT_EQ(facts.pair_notes.message, "one response");
}

TEST(TokenRows, GiveBackWhatWasWrittenWithIdsOfTwoAndFourBytes) {
  for (const std::int64_t vocabulary : {65536, 65537}) {
    expect_three_rows(TokenRows::in_memory(bytes_of_three_rows(vocabulary)), static_cast<std::int32_t>(vocabulary - 1));
    const ScratchFolder folder;
    const auto file = folder.write("tokens", bytes_of_three_rows(vocabulary, key));
    expect_three_rows(TokenRows::open(file, key), static_cast<std::int32_t>(vocabulary - 1));
  }
  // Eight ids, each two bytes longer.
  EXPECT_EQ(bytes_of_three_rows(65537).size(), bytes_of_three_rows(65536).size() + 2 * 8);
}

TEST(TokenRows, MayBeNone) {
  std::string bytes;
  TokenWriter([&](std::string_view piece) { bytes += piece; }, "", 10).finish({});
  EXPECT_EQ(TokenRows::in_memory(bytes).size(), 0);
}

TEST(TokenRows, EveryCutAndEveryChangedByteIsRefused) {
  const ScratchFolder folder;
  const std::string whole = bytes_of_three_rows(1000, key);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto file = folder.write("tokens", whole.substr(0, size));
    EXPECT_TRUE(holds(error_of([&] { TokenRows::open(file, key); }), file.string())) << size;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    const auto file = folder.write("tokens", changed);
    EXPECT_TRUE(holds(error_of([&] { TokenRows::open(file, key); }), file.string())) << at;
  }
  const auto file = folder.write("tokens", whole + "x");
  EXPECT_TRUE(holds(error_of([&] { TokenRows::open(file, key); }), "cut short or damaged"));
}

// Bytes that end with their right hash: what lies between is looked at too.
TEST(TokenRows, AFileThatContradictsItselfIsRefused) {
  const auto refused = [](const std::function<void(std::string&)>& change) {
    std::string bytes = bytes_of_three_rows(1000);
    bytes.resize(bytes.size() - 64);
    change(bytes);
    Sha256 hash;
    hash.update(std::as_bytes(std::span(bytes)));
    return error_of([&] { TokenRows::in_memory(bytes + hash.hex()); });
  };
  const auto set = [](std::size_t at, auto value) {
    return [=](std::string& bytes) { std::memcpy(bytes.data() + at, &value, sizeof value); };
  };
  const std::size_t tail = bytes_of_three_rows(1000).size() - 64 - 16, head = 80;
  EXPECT_TRUE(holds(refused(set(72, std::uint64_t{3})), "numbers do not fit"));
  EXPECT_TRUE(holds(refused(set(tail, std::uint64_t{1} << 60)), "numbers do not fit"));
  EXPECT_TRUE(holds(refused(set(tail + 8, ~std::uint64_t{0})), "numbers do not fit"));
  EXPECT_TRUE(holds(refused(set(tail, std::uint64_t{2})), "is damaged"));
  EXPECT_TRUE(holds(refused(set(head, std::uint32_t{0})), "row 0 does not fit"));
  EXPECT_TRUE(holds(refused(set(head, std::uint32_t{2})), "row 0 does not fit"));
  EXPECT_TRUE(holds(refused(set(head + 4, ~std::uint32_t{0})), "row 0 does not fit"));
  const auto facts = [&](const std::string& from, const std::string& to) {
    return refused([&](std::string& bytes) {
      const std::size_t at = bytes.rfind(from);
      ASSERT_NE(at, std::string::npos);
      bytes.replace(at, from.size(), to);
    });
  };
  EXPECT_TRUE(holds(facts("\"rows\":3", "\"rows\":4"), "4 rows in files, 3 in all"));
  EXPECT_TRUE(holds(facts("\"rows\":3", "\"rows\":x"), "is damaged"));
  EXPECT_TRUE(holds(facts("\"rows\":3", "\"cows\":3"), "is damaged"));
  EXPECT_TRUE(holds(facts("\"file\":1", "\"file\":2"), "a warning of no file"));
}

TEST(TokenRows, ForeignFilesAreRefused) {
  const ScratchFolder folder;
  const auto refused = [&](const std::filesystem::path& file) { return error_of([&] { TokenRows::open(file, key); }); };
  EXPECT_TRUE(holds(refused(folder.write("text", std::string(500, 'x'))), "is no file of tokens that rrhf wrote"));
  EXPECT_TRUE(holds(refused(folder.write("empty", "")), "is no file of tokens that rrhf wrote"));
  const auto other = folder.write("other", bytes_of_three_rows(1000, std::string(64, 'b')));
  EXPECT_TRUE(holds(refused(other), "was made of other data, settings or a tokenizer"));
  EXPECT_TRUE(holds(refused(folder.path() / "none"), "none: No such file"));
}

// More than is kept of a mapped file at once.
TEST(TokenRows, AMappedFileReadsTheSameAfterItsPagesWereGivenBack) {
  const ScratchFolder folder;
  std::string bytes;
  TokenWriter writer([&](std::string_view piece) { bytes += piece; }, key, 50'000);
  constexpr std::int32_t count = 5000;
  for (std::int32_t i = 0; i < count; ++i) writer.add(query_of({1, i}, {{i, 2}}, {i / 7.0}, 4));
  writer.finish({.files = {{count, false}}});
  const TokenRows rows = TokenRows::open(folder.write("tokens", bytes), key);
  for (int time = 0; time < 2; ++time) {
    for (std::int32_t i = 0; i < count; ++i) {
      const EncodedQuery query = rows.query(i);
      ASSERT_EQ(query.prompt[1], i);
      ASSERT_EQ(query.rewards[0], i / 7.0);
    }
  }
}

TEST(TokenWriter, RefusesWhatItCannotKeep) {
  TokenWriter writer([](std::string_view) {}, "", 100);
  EXPECT_TRUE(holds(error_of<Error>([&] { writer.add(query_of({1}, {{100}}, {1}, 2)); }), "id 100 is beyond"));
  EXPECT_TRUE(holds(error_of<Error>([&] { writer.add(query_of({-1}, {{1}}, {1}, 2)); }), "id -1 is beyond"));
  EXPECT_TRUE(holds(error_of<Error>([&] { writer.add(query_of({1}, {}, {}, 1)); }), "without responses"));
  EXPECT_TRUE(
      holds(error_of<Error>([&] { writer.add(query_of({1}, {{1}}, {1}, std::int64_t{1} << 32)); }), "4294967296"));
}

}  // namespace
}  // namespace rrhf::data::testing
