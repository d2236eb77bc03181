#include "rrhf/core/stream.h"

#include <sys/stat.h>
#include <zlib.h>

#include "rrhf/core/file.h"
#include "tests/core/support.h"

namespace rrhf {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;
using Lines = std::vector<std::string>;

fs::path write_gz(const TemporaryFolder& folder, std::string_view content) {
  const fs::path path = folder.path() / "x.gz";
  const gzFile file = ::gzopen(path.c_str(), "wb");
  EXPECT_EQ(::gzwrite(file, content.data(), static_cast<unsigned>(content.size())), std::ssize(content));
  ::gzclose(file);
  return path;
}

std::string all_of(const fs::path& path) {
  ByteStream stream(path);
  std::string content;
  for (std::string_view piece = stream.read(); !piece.empty(); piece = stream.read()) content += piece;
  return content;
}

Lines lines_of(const fs::path& path) {
  ByteStream stream(path);
  LineReader reader(stream);
  Lines lines;
  while (const auto line = reader.next("x")) {
    lines.emplace_back(line->text);
    EXPECT_EQ(line->number, lines.size());
  }
  EXPECT_FALSE(reader.next("x"));  // the end stays the end
  return lines;
}

// A megabyte that does not compress to nothing, so that it takes several reads.
std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 1'000'000; ++i) text += std::to_string(i * 7919 % 100003) + "\n";
  return text;
}

TEST(ByteStream, ReadsPlainAndCompressedFilesAlike) {
  const TemporaryFolder folder;
  const std::string text = long_text();
  EXPECT_EQ(all_of(folder.write("plain", text)), text);
  EXPECT_EQ(all_of(write_gz(folder, text)), text);
  EXPECT_EQ(all_of(folder.write("empty", "")), "");
  EXPECT_EQ(all_of(folder.write("one", "\x1f")), "\x1f");  // half of gzip's magic
}

TEST(ByteStream, TellsHowFarItIs) {
  const TemporaryFolder folder;
  const fs::path path = write_gz(folder, long_text());
  ByteStream stream(path);
  EXPECT_EQ(stream.size(), fs::file_size(path));
  stream.read();
  EXPECT_GT(stream.consumed(), 0u);
  while (!stream.read().empty()) {
  }
  EXPECT_EQ(stream.consumed(), stream.size());
}

TEST(ByteStream, RefusesCompressedFilesThatEndTooSoonOrAreBroken) {
  const TemporaryFolder folder;
  const std::string whole = read_file(write_gz(folder, long_text()));
  for (const std::size_t size : {whole.size() / 2, whole.size() - 4, whole.size() - 8, std::size_t{12}}) {
    const fs::path cut = folder.write("cut.gz", std::string_view(whole).substr(0, size));
    EXPECT_TRUE(holds(error_of([&] { all_of(cut); }), "cut.gz: the compressed data are broken or end too soon"))
        << size;
  }
  std::string broken = whole;
  broken[broken.size() / 2] = static_cast<char>(~broken[broken.size() / 2]);
  EXPECT_THROW(all_of(folder.write("broken.gz", broken)), InputError);
}

// gzip takes files one after the other for one file, and zeros behind the last for padding.
TEST(ByteStream, ReadsSeveralGzipMembers) {
  const TemporaryFolder folder;
  const std::string member = read_file(write_gz(folder, long_text())), zeros(700, '\0');
  EXPECT_EQ(all_of(folder.write("two.gz", member + member)), long_text() + long_text());
  EXPECT_EQ(all_of(folder.write("padded.gz", member + zeros + member + zeros)), long_text() + long_text());
  EXPECT_EQ(all_of(write_gz(folder, std::string(5'000'000, 'a'))), std::string(5'000'000, 'a'));  // 1000 : 1
  EXPECT_EQ(all_of(write_gz(folder, "")), "");
}

TEST(ByteStream, RefusesWhatFollowsTheCompressedData) {
  const TemporaryFolder folder;
  const std::string member = read_file(write_gz(folder, "one line\n"));
  std::string other = member;
  other[1] = 'x';  // the second byte of gzip's mark
  for (const std::string& tail : {other, std::string("junk"), member.substr(0, 12), std::string("\x1f")}) {
    EXPECT_TRUE(holds(error_of([&] { all_of(folder.write("tail.gz", member + tail)); }),
                      "tail.gz: the compressed data are broken or end too soon"))
        << tail.size();
  }
}

TEST(ByteStream, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_TRUE(holds(error_of([&] { ByteStream stream(folder.path() / "absent"); }), "absent: No such file"));
  EXPECT_TRUE(holds(error_of([&] { ByteStream stream(folder.path()); }), "is a folder"));
  const fs::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(
      holds(error_of([&] { ByteStream stream(pipe); }), "pipe: is a pipe or a device; data are read more than once"));
}

TEST(LineReader, TakesEitherLineEnd) {
  const TemporaryFolder folder;
  EXPECT_EQ(lines_of(folder.write("x", "a\r\nb\n\nc")), (Lines{"a", "b", "", "c"}));
  EXPECT_EQ(lines_of(folder.write("x", "a\n")), (Lines{"a"}));
  EXPECT_EQ(lines_of(folder.write("x", "\n")), (Lines{""}));
  EXPECT_EQ(lines_of(folder.write("x", "")), Lines{});
  EXPECT_EQ(lines_of(folder.write("x", "a\rb")), (Lines{"a\rb"}));
}

TEST(LineReader, PassesOverAByteOrderMarkAtTheStartOnly) {
  const TemporaryFolder folder;
  EXPECT_EQ(lines_of(folder.write("x", "\xef\xbb\xbf{}\n\xef\xbb\xbf")), (Lines{"{}", "\xef\xbb\xbf"}));
  EXPECT_EQ(lines_of(folder.write("x", "\xef\xbb\xbf\n{}")), (Lines{"", "{}"}));
  EXPECT_EQ(lines_of(folder.write("x", "\xef\xbb\xbf")), Lines{});
}

TEST(LineReader, JoinsLinesThatCrossReads) {
  const TemporaryFolder folder;
  const std::string first(300'000, 'a');  // longer than one read
  EXPECT_EQ(lines_of(folder.write("x", first + "\nb\n")), (Lines{first, "b"}));
  // "\r" is the last byte of one read and "\n" the first of the next.
  const std::string edge((std::size_t{256} << 10) - 1, 'c');
  EXPECT_EQ(lines_of(folder.write("x", edge + "\r\nb")), (Lines{edge, "b"}));
}

}  // namespace
}  // namespace rrhf
