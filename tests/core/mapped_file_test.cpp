#include "rrhf/core/mapped_file.h"

#include <sys/stat.h>

#include "tests/core/support.h"

namespace rrhf {
namespace {

using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, ShowsTheBytesWhileItLives) {
  const TemporaryFolder folder;
  MappedFile file(folder.write("x", "content"));
  EXPECT_EQ(text_of(file), "content");
  MappedFile moved(std::move(file));
  EXPECT_EQ(text_of(moved), "content");
  file = MappedFile(folder.write("y", "other"));
  EXPECT_EQ(text_of(file), "other");
  file = std::move(moved);
  EXPECT_EQ(text_of(file), "content");
}

TEST(MappedFile, ReleasedPartsAreReadAgain) {
  const TemporaryFolder folder;
  const std::string content(20'000, 'x');
  const MappedFile file(folder.write("x", content));
  file.release(file.bytes().subspan(5'000, 10'000));
  file.release(file.bytes().last(1));
  file.release({});
  EXPECT_EQ(text_of(file), content);
}

TEST(MappedFile, TakesEmptyFilesAndRefusesFolders) {
  const TemporaryFolder folder;
  EXPECT_TRUE(MappedFile(folder.write("empty", "")).bytes().empty());
  EXPECT_TRUE(holds(error_of([&] { MappedFile(folder.path() / "absent"); }), "No such file"));
  EXPECT_TRUE(holds(error_of([&] { MappedFile file(folder.path()); }), "is a folder; a regular file is needed"));
}

TEST(MappedFile, RefusesAFifoWithoutWaitingForItsOtherEnd) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(holds(error_of([&] { MappedFile file(folder.path() / "pipe"); }), "pipe: is a FIFO; a regular file"));
}

TEST(MappedFile, TellsThatItsFileBecameShorter) {
  const TemporaryFolder folder;
  const auto path = folder.write("x", std::string(10'000, 'x'));
  MappedFile mapped(path);
  mapped.require_whole();
  std::filesystem::resize_file(path, 12'000);  // what was there is there still
  mapped.require_whole();
  std::filesystem::resize_file(path, 9'999);
  const MappedFile moved(std::move(mapped));
  EXPECT_TRUE(
      holds(error_of([&] { moved.require_whole(); }), "x: had 10000 bytes when it was opened and has 9999 now"));
}

TEST(MappedFile, KeepsTheFileThatAnotherReplaces) {
  const TemporaryFolder folder;
  const MappedFile mapped(folder.write("x", "old content"));
  std::filesystem::rename(folder.write("y", "new"), folder.path() / "x");
  mapped.require_whole();
  EXPECT_EQ(text_of(mapped), "old content");
}

}  // namespace
}  // namespace rrhf
