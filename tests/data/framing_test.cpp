// Lines and arrays as the outside world writes them, hostile ones among them.
#include <algorithm>
#include <fstream>

#include "tests/data/support.h"

namespace rrhf::data::testing {
namespace {

const std::string good = R"({"query": "q", "responses": ["a", "b"], "scores": [1, 2]})";

class Framing : public ::testing::Test {
 protected:
  std::vector<ReadRow> read(std::string_view text) { return read_rows(folder_.write("rows", text)); }
  std::string error_of(std::string_view text) {
    return input_error([&] { read(text); });
  }

  ScratchFolder folder_;
};

TEST_F(Framing, LinesAreNumberedFromOneAndEmptyOnesPassedOver) {
  const auto rows = read("\n" + good + "\r\n  \t\r\n" + good);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].where.line, 2);
  EXPECT_EQ(rows[0].where.row, 0);
  EXPECT_EQ(rows[1].where.line, 4);
  EXPECT_EQ(rows[1].where.row, 1);
  EXPECT_TRUE(rows[1].example);
}

TEST_F(Framing, ArrayRowsAreNamedByTheirByte) {
  const auto rows = read("[\n " + good + ",\n " + good + "\n]\n");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].where.byte, 3u);                   // "[", a newline and a space stand before
  EXPECT_EQ(rows[1].where.byte, 3 + good.size() + 3);  // ",", a newline and a space between
  EXPECT_EQ(rows[1].where.line, 0);
}

TEST_F(Framing, AByteOrderMarkIsPassedOver) {
  EXPECT_TRUE(read("\xef\xbb\xbf" + good).at(0).example);
  const auto rows = read("\xef\xbb\xbf[" + good + "]");
  EXPECT_TRUE(rows.at(0).example);
  EXPECT_EQ(rows.at(0).where.byte, 4u);  // three bytes of the mark and the bracket
}

TEST_F(Framing, EmptyFiles) {
  EXPECT_NE(error_of("").find("the file is empty"), std::string::npos);
  EXPECT_NE(error_of(" \n\t\r\n").find("the file is empty"), std::string::npos);
  EXPECT_NE(error_of("\xef\xbb\xbf\n").find("the file is empty"), std::string::npos);
  EXPECT_NE(error_of(" [ ] ").find("the array is empty"), std::string::npos);
}

TEST_F(Framing, AMissingFileAndAFolder) {
  const auto missing = folder_.path() / "missing.jsonl";
  EXPECT_NE(input_error([&] { RowReader(missing, DataFormat::automatic); }).find("missing.jsonl"), std::string::npos);
  EXPECT_NE(input_error([&] { RowReader(folder_.path(), DataFormat::automatic); }).find("folder"), std::string::npos);
}

TEST_F(Framing, TheRowsBeforeATruncatedOneAreRead) {
  const auto lines = read(good + "\n" + good.substr(0, 20));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_TRUE(lines[0].example);
  EXPECT_FALSE(lines[1].example);

  const auto array = read("[" + good + ", " + good.substr(0, 20));
  ASSERT_EQ(array.size(), 2u);
  EXPECT_TRUE(array[0].example);
  ASSERT_FALSE(array[1].example);
  EXPECT_EQ(array[1].where.row, 1);
  EXPECT_EQ(array[1].where.byte, 1 + good.size() + 2);  // where the row begins that is cut off
  EXPECT_NE(messages(array[1]).at(0).find("the file ends inside the array"), std::string::npos);
}

TEST_F(Framing, AnObjectOverSeveralLinesIsNamedAsSuch) {
  const std::string message = error_of("{\n  \"query\": \"q\",\n  \"responses\": [\"a\"],\n  \"scores\": [1]\n}\n");
  EXPECT_NE(message.find("rows:1: an object begins here and goes on over several lines"), std::string::npos) << message;
  EXPECT_NE(error_of("{\"a\": 1}\n").find("no row of a known layout"), std::string::npos);
}

TEST_F(Framing, RowsOfABrokenSecondGzipMemberAreNotLostUnseen) {
  const auto whole = folder_.write_gzip("rows.gz", good + "\n");
  std::ifstream in(whole, std::ios::binary);
  const std::string member((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_EQ(read_rows(folder_.write("two.gz", member + member)).size(), 2u);
  std::string broken = member;
  broken[0] = 'x';
  const auto path = folder_.write("broken.gz", member + broken);
  EXPECT_NE(input_error([&] { read_rows(path); }).find("broken.gz: the compressed data are broken"), std::string::npos);
}

TEST_F(Framing, TextAfterTheArrayIsAnError) {
  const auto rows = read("[" + good + "] x");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_NE(messages(rows[1]).at(0).find("text after the end of the array"), std::string::npos);
}

TEST_F(Framing, ABrokenElementLeavesTheOthersReadable) {
  const auto rows = read("[" + good + ", {\"query\": tru}, " + good + "]");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_NE(messages(rows[1]).at(0).find("not JSON"), std::string::npos);
  EXPECT_TRUE(rows[2].example);
}

TEST_F(Framing, NestingAMillionDeepIsRefused) {
  const std::string deep(1'000'000, '[');
  const auto lines = read(good + "\n{\"query\": " + deep + "\n" + good);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_NE(messages(lines[1]).at(0).find("nested deeper than 64 levels"), std::string::npos);
  EXPECT_TRUE(lines[2].example);

  const auto array = read("[" + good + ", " + deep);
  ASSERT_EQ(array.size(), 2u);
  EXPECT_NE(messages(array[1]).at(0).find("nested deeper than 64 levels"), std::string::npos);

  EXPECT_NE(error_of(deep).find("nested deeper than 64 levels"), std::string::npos);
}

TEST_F(Framing, InvalidUtf8IsAnErrorOfItsRow) {
  const auto rows = read(good + "\n{\"query\": \"\xff\"}\n" + good);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(messages(rows[1]).at(0), "error: not JSON: not valid UTF-8 (byte 11 of the line)");
  EXPECT_TRUE(rows[2].example);
}

TEST_F(Framing, ALoneSurrogateBecomesTheReplacementCharacter) {
  const auto rows = read(R"({"query": "x\ud800y", "responses": ["\ud83d\ude00", "b"], "scores": [1, 2]})");
  ASSERT_TRUE(rows.at(0).example);
  EXPECT_EQ(rows[0].example->query, "x\xef\xbf\xbdy");
  EXPECT_EQ(rows[0].example->responses[0], "\xf0\x9f\x98\x80");
}

TEST_F(Framing, ALineOfTenMegabytes) {
  const std::string long_text(10'000'000, 'a');
  const auto rows =
      read(R"({"query": ")" + long_text + R"(", "responses": ["a", "b"], "scores": [1, 2]})" + "\n" + good);
  ASSERT_EQ(rows.size(), 2u);
  ASSERT_TRUE(rows[0].example);
  EXPECT_EQ(rows[0].example->query.size(), long_text.size());
}

TEST_F(Framing, AMessageStaysShortWhenTheTextIsLong) {
  const auto rows = read(good + "\n{\"query\": \"" + std::string(1'000'000, 'a'));
  EXPECT_LT(messages(rows.at(1)).at(0).size(), 300u);
}

TEST_F(Framing, GzipIsFoundByContent) {
  const auto rows = read_rows(folder_.write_gzip("rows.jsonl", good + "\n" + good + "\n"));
  EXPECT_EQ(rows.size(), 2u);
  EXPECT_EQ(read_rows(folder_.write_gzip("rows.json", "[" + good + "]")).size(), 1u);
}

TEST_F(Framing, TruncatedGzipIsAnInputError) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += R"({"query": ")" + std::to_string(i * 7919) + good.substr(11) + "\n";
  const auto whole = folder_.write_gzip("whole.gz", text);
  std::filesystem::resize_file(whole, std::filesystem::file_size(whole) / 2);
  EXPECT_NE(input_error([&] { read_rows(whole); }).find("broken or end too soon"), std::string::npos);
}

TEST_F(Framing, ShareReadGrowsToOne) {
  RowReader reader(folder_.write("rows.jsonl", good + "\n" + good), DataFormat::automatic);
  while (reader.next()) EXPECT_LE(reader.share_read(), 1);
  EXPECT_DOUBLE_EQ(reader.share_read(), 1);
}

// Resident memory of this process in bytes.
std::size_t resident() {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0;
  std::size_t resident_pages = 0;
  statm >> pages >> resident_pages;
  return resident_pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

// Reads 64 MiB and says by how much the memory grew.
std::size_t growth_over(const std::filesystem::path& path, bool array, int rows) {
  {
    std::ofstream out(path, std::ios::binary);
    const std::string row = R"({"query": ")" + std::string(4096, 'x') + good.substr(11);
    if (array) out << "[";
    for (int i = 0; i < rows; ++i) out << row << (array ? i + 1 < rows ? ",\n" : "]" : "\n");
  }
  RowReader reader(path, DataFormat::automatic);
  for (int i = 0; i < 100; ++i) reader.next();
  const std::size_t before = resident();
  std::size_t most = before;
  int seen = 100;
  while (reader.next()) {
    if (++seen % 1000 == 0) most = std::max(most, resident());
  }
  EXPECT_EQ(seen, rows);
  return most - before;
}

TEST_F(Framing, MemoryDoesNotGrowWithTheFile) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer keeps freed memory for a while";
#endif
  constexpr int rows = 16'000;  // x 4.1 kB = 64 MiB
  EXPECT_LT(growth_over(folder_.path() / "rows.jsonl", false, rows), std::size_t{8} << 20);
  EXPECT_LT(growth_over(folder_.path() / "rows.json", true, rows), std::size_t{8} << 20);
}

}  // namespace
}  // namespace rrhf::data::testing
