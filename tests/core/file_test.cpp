#include "rrhf/core/file.h"

#include <sys/stat.h>

#include "tests/core/support.h"

namespace rrhf {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

TEST(File, ReadsWholeFiles) {
  const TemporaryFolder folder;
  const std::string content("a\0\r\n\xff", 5);
  EXPECT_EQ(read_file(folder.write("x", content)), content);
  EXPECT_EQ(read_file(folder.write("empty", "")), "");
  EXPECT_TRUE(holds(error_of([&] { read_file(folder.path() / "absent"); }), "absent: No such file"));
  EXPECT_TRUE(holds(error_of([&] { read_file(folder.path()); }), "is a folder"));
}

TEST(AtomicWrite, ReplacesAFileWhole) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "old");
  write_file_atomically(path, "new content");
  EXPECT_EQ(read_file(path), "new content");
  EXPECT_EQ(folder.entries(), 1);  // nothing is left aside
}

TEST(AtomicWrite, LeavesTheOldFileWhenTheWriterFails) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "old");
  const auto writer = [](std::ostream& out) {
    out << "half of it";
    throw Error("test", "no more");
  };
  EXPECT_TRUE(holds(error_of<Error>([&] { write_file_atomically(path, writer); }), "[test] no more"));
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(AtomicWrite, NamesTheFileItCannotWrite) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "absent" / "x";
  EXPECT_TRUE(holds(error_of<Error>([&] { write_file_atomically(path, "a"); }), "absent/x: could not be created"));
  fs::create_directory(folder.path() / "taken");
  folder.write("taken/inside", "");
  EXPECT_TRUE(holds(error_of<Error>([&] { write_file_atomically(folder.path() / "taken", "a"); }), "in place"));
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Folder, IsMadeWritableOrTheErrorSaysWhy) {
  const TemporaryFolder folder;
  EXPECT_TRUE(missing_or_empty(folder.path()));
  EXPECT_TRUE(missing_or_empty(folder.path() / "absent"));
  make_writable_folder(folder.path() / "a" / "b");
  EXPECT_TRUE(missing_or_empty(folder.path() / "a" / "b"));  // the probe is gone again
  EXPECT_FALSE(missing_or_empty(folder.path()));
  const fs::path file = folder.write("x", "");
  EXPECT_FALSE(missing_or_empty(file));
  EXPECT_THROW(make_writable_folder(file / "below"), InputError);
}

TEST(PathExists, TellsOrSaysWhyItCannot) {
  const TemporaryFolder folder;
  folder.write("file", "x");
  EXPECT_TRUE(path_exists(folder.path() / "file"));
  EXPECT_FALSE(path_exists(folder.path() / "absent"));
  EXPECT_FALSE(path_exists(folder.path() / "file" / "below"));
  EXPECT_TRUE(is_folder(folder.path()));
  EXPECT_FALSE(is_folder(folder.path() / "file"));
  EXPECT_FALSE(is_folder(folder.path() / "absent"));
  const std::string too_long = error_of([&] { path_exists(folder.path() / std::string(3000, 'a')); });
  EXPECT_TRUE(holds(too_long, "File name too long"));
  EXPECT_LT(too_long.size(), 300u);
}

TEST(RequireRegularFile, NamesWhatItFinds) {
  const TemporaryFolder folder;
  EXPECT_NO_THROW(require_regular_file(folder.write("x", "")));
  fs::create_symlink("x", folder.path() / "link");
  EXPECT_NO_THROW(require_regular_file(folder.path() / "link"));
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  fs::create_symlink("absent", folder.path() / "broken");
  const auto refusal = [](const fs::path& path) { return error_of([&] { require_regular_file(path); }); };
  EXPECT_TRUE(holds(refusal(folder.path()), "is a folder; a regular file is needed"));
  EXPECT_TRUE(holds(refusal(folder.path() / "pipe"), "pipe: is a FIFO;"));
  EXPECT_TRUE(holds(refusal(folder.path() / "broken"), "broken: is a link to nowhere;"));
  EXPECT_TRUE(holds(refusal(folder.path() / "absent"), "absent: is nothing;"));
  EXPECT_TRUE(holds(refusal("/dev/null"), "/dev/null: is a device;"));
  EXPECT_TRUE(holds(refusal(folder.path() / std::string(300, 'a')), "File name too long"));
}

TEST(HasFile, TakesNothingElseForMissing) {
  const TemporaryFolder folder;
  EXPECT_TRUE(has_file(folder.write("x", "")));
  EXPECT_FALSE(has_file(folder.path() / "absent"));
  fs::create_symlink("x", folder.path() / "link");
  EXPECT_TRUE(has_file(folder.path() / "link"));
  fs::create_symlink("absent", folder.path() / "broken");
  EXPECT_TRUE(holds(error_of([&] { has_file(folder.path() / "broken"); }), "broken: is a link to nowhere;"));
  EXPECT_TRUE(holds(error_of([&] { has_file(folder.path()); }), "is a folder; a regular file is needed"));
}

TEST(RequireWritableFile, AsksWithoutLeavingATrace) {
  const TemporaryFolder folder;
  folder.write("there", "mine");
  EXPECT_NO_THROW(require_writable_file(folder.path() / "new"));
  EXPECT_NO_THROW(require_writable_file(folder.path() / "there"));
  EXPECT_EQ(folder.entries(), 1);
  EXPECT_EQ(read_file(folder.path() / "there"), "mine");
  EXPECT_TRUE(holds(error_of([&] { require_writable_file(folder.path()); }), "is a folder"));
  EXPECT_TRUE(holds(error_of([&] { require_writable_file(folder.path() / "no" / "x"); }), "there is no such folder"));
  EXPECT_TRUE(
      holds(error_of([&] { require_writable_file(folder.path() / std::string(250, 'a')); }), "can't be written"));
  EXPECT_TRUE(holds(error_of([] { require_writable_file("/proc/x"); }), "/proc/x: can't be written"));
}

TEST(FolderLock, IsHeldOnce) {
  const TemporaryFolder folder;
  {
    FolderLock first(folder.path());
    EXPECT_TRUE(holds(error_of([&] { FolderLock second(folder.path()); }), "another process is writing into it"));
    const FolderLock moved = std::move(first);
    EXPECT_THROW(FolderLock third(folder.path()), InputError);
  }
  EXPECT_NO_THROW(FolderLock again(folder.path()));
  EXPECT_EQ(folder.entries(), 0);
}

}  // namespace
}  // namespace rrhf
