#include "rrhf/core/file.h"

#include <sys/wait.h>

#include "tests/core/support.h"

namespace rrhf {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(File, ReadsWholeFiles) {
  const TemporaryFolder folder;
  const std::string content("a\0\r\n\xff", 5);
  EXPECT_EQ(read_file(folder.write("x", content)), content);
  EXPECT_EQ(read_file(folder.write("empty", "")), "");
  EXPECT_TRUE(holds(error_of([&] { read_file(folder.path() / "absent"); }), "absent: No such file"));
  EXPECT_TRUE(holds(error_of([&] { read_file(folder.path()); }), "is a folder"));
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
  EXPECT_TRUE(holds(error_of([&] { MappedFile file(folder.path()); }), "not a regular file"));
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

TEST(StagedFolder, AppearsWithAllItsFilesAtOnce) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "parent" / "model";
  StagedFolder staged(target);
  std::ofstream(staged.path() / "a") << "1";
  fs::create_directory(staged.path() / "sub");
  std::ofstream(staged.path() / "sub" / "b") << "2";
  EXPECT_FALSE(fs::exists(target));
  staged.publish();
  EXPECT_EQ(read_file(target / "a"), "1");
  EXPECT_EQ(read_file(target / "sub" / "b"), "2");
  EXPECT_FALSE(fs::exists(staged.path()));
}

TEST(StagedFolder, LeavesNothingWhenAbandoned) {
  const TemporaryFolder folder;
  {
    const StagedFolder staged(folder.path() / "model");
    std::ofstream(staged.path() / "a") << "1";
  }
  EXPECT_EQ(folder.entries(), 0);
}

TEST(StagedFolder, RefusesAFullDestinationUnlessItIsToBeReplaced) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "model";
  fs::create_directory(target);
  EXPECT_NO_THROW(StagedFolder(target).publish());  // an empty one is used
  folder.write("model/old", "old");
  EXPECT_TRUE(holds(error_of([&] { StagedFolder staged(target); }), "exists and is not empty"));
  { const StagedFolder abandoned(target, StagedFolder::IfPresent::replace); }
  EXPECT_EQ(read_file(target / "old"), "old");
  StagedFolder staged(target.string() + "/", StagedFolder::IfPresent::replace);  // a final slash changes nothing
  std::ofstream(staged.path() / "new") << "new";
  staged.publish();
  EXPECT_EQ(read_file(target / "new"), "new");
  EXPECT_FALSE(fs::exists(target / "old"));
  EXPECT_EQ(folder.entries(), 1);
}

TEST(StagedFolder, LeavesAloneWhatAppearsWhileItIsWritten) {
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "model";
  StagedFolder staged(target);
  fs::create_directory(target);
  folder.write("model/precious", "mine");
  EXPECT_THROW(staged.publish(), Error);
  EXPECT_EQ(read_file(target / "precious"), "mine");
}

TEST(StagedFolder, FollowsALinkAndRefusesOneToNowhere) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / "real");
  fs::create_directory_symlink("real", folder.path() / "link");
  StagedFolder staged(folder.path() / "link");
  std::ofstream(staged.path() / "a") << "1";
  staged.publish();
  EXPECT_TRUE(fs::is_symlink(folder.path() / "link"));
  EXPECT_EQ(read_file(folder.path() / "real" / "a"), "1");
  fs::create_directory_symlink("nowhere", folder.path() / "dangling");
  EXPECT_TRUE(holds(error_of([&] { StagedFolder dangling(folder.path() / "dangling"); }), "is a link to nowhere"));
}

// A process id that nothing has: the child is waited for, so it is gone.
pid_t dead_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

TEST(StagedFolder, RemovesWhatKilledProcessesWereBuildingForTheSamePlace) {
  const TemporaryFolder folder;
  const std::string dead = std::to_string(dead_process()), living = std::to_string(::getppid());
  for (const std::string& name : {".model.tmp-" + dead, ".model.tmp-" + living, ".other.tmp-" + dead,
                                  std::string(".model.tmp-12x"), std::string("model.tmp-") + dead}) {
    fs::create_directory(folder.path() / name);
    folder.write(name + "/half", "half");
  }
  StagedFolder(folder.path() / "model").publish();
  EXPECT_FALSE(fs::exists(folder.path() / (".model.tmp-" + dead)));
  EXPECT_TRUE(fs::exists(folder.path() / (".model.tmp-" + living)));
  EXPECT_TRUE(fs::exists(folder.path() / (".other.tmp-" + dead)));
  EXPECT_EQ(folder.entries(), 5);  // four of the names, and the model
}

TEST(StagedFolder, PutsBackAnOldFolderThatAKilledProcessHadMovedAside) {
  const TemporaryFolder folder;
  const std::string old = ".model.old-" + std::to_string(dead_process());
  fs::create_directory(folder.path() / old);
  folder.write(old + "/weights", "old");
  // The destination is not empty, then: it was only aside.
  EXPECT_TRUE(holds(error_of([&] { StagedFolder staged(folder.path() / "model"); }), "exists and is not empty"));
  EXPECT_EQ(read_file(folder.path() / "model" / "weights"), "old");
  // Beside a complete destination it is of no use.
  fs::create_directory(folder.path() / old);
  { const StagedFolder staged(folder.path() / "model", StagedFolder::IfPresent::replace); }
  EXPECT_EQ(folder.entries(), 1);
}

TEST(Folder, IsClearedOfWhatKilledProcessesLeft) {
  const TemporaryFolder folder;
  const std::string dead = std::to_string(dead_process());
  fs::create_directories(folder.path() / (".step-000007.tmp-" + dead) / "deep");
  folder.write(".metrics.jsonl.tmp-" + dead, "half a line");
  folder.write(".hidden", "mine");
  folder.write("step-000006", "whole");
  EXPECT_EQ(remove_abandoned(folder.path()), 2);
  EXPECT_EQ(folder.entries(), 2);
  EXPECT_EQ(remove_abandoned(folder.path() / "absent"), 0);
}

TEST(StagedFolder, RefusesADestinationThatIsAFile) {
  const TemporaryFolder folder;
  EXPECT_THROW(StagedFolder staged(folder.write("x", "data")), InputError);
  EXPECT_EQ(read_file(folder.path() / "x"), "data");
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
  EXPECT_TRUE(holds(error_of([&] { path_exists(folder.path() / std::string(300, 'a')); }), "File name too long"));
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
