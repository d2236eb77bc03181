#include "rrhf/core/staged_folder.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "rrhf/core/aside.h"
#include "rrhf/core/file.h"
#include "tests/core/support.h"

namespace rrhf {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

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

TEST(StagedFolder, IsNotMadeInPlaceOfTheWorkingFolder) {
  const TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  for (const fs::path& here : {fs::path("."), fs::path("./"), folder.path()}) {
    EXPECT_TRUE(holds(error_of([&] { StagedFolder staged(here); }), "is the folder this was started in")) << here;
  }
  StagedFolder("model").publish();  // in it
  fs::current_path(before);
  EXPECT_TRUE(fs::is_directory(folder.path() / "model"));
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

// What `act` leaves behind in a process that is killed after it.
template <class Act>
void in_a_killed_process(Act act) {
  const pid_t child = ::fork();
  if (child == 0) {
    act();
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
}

TEST(StagedFolder, RemovesWhatAKilledProcessWasBuildingForTheSamePlace) {
  const TemporaryFolder folder;
  in_a_killed_process([&] {
    for (const char* name : {"model", "other"}) {
      auto* abandoned = new StagedFolder(folder.path() / name);
      std::ofstream(abandoned->path() / "half") << "half";
    }
  });
  EXPECT_EQ(folder.entries(), 2);
  for (const char* name : {".model.tmp-12x", "model.tmp-12", ".model.tmp-12-xyz", ".model.tmp-"}) {
    fs::create_directory(folder.path() / name);
  }
  StagedFolder(folder.path() / "model").publish();
  EXPECT_EQ(folder.entries(), 6);  // four other names, the other's, and the model
  EXPECT_EQ(remove_abandoned(folder.path(), "other"), 1);
  EXPECT_EQ(folder.entries(), 5);
}

TEST(StagedFolder, LeavesAloneWhatIsStillBeingBuiltWhateverItsProcessId) {
  // Both have one process id here, as the first processes of two containers have.
  const TemporaryFolder folder;
  const fs::path target = folder.path() / "model";
  StagedFolder first(target);
  std::ofstream(first.path() / "a") << "1";
  {
    StagedFolder second(target);
    EXPECT_NE(first.path(), second.path());
    EXPECT_EQ(remove_abandoned(folder.path()), 0);
  }
  write_file_atomically(folder.path() / "beside", [&](std::ostream& out) {
    out << "whole";
    write_file_atomically(folder.path() / "beside", "another's");
    EXPECT_EQ(remove_abandoned(folder.path()), 0);
  });
  EXPECT_EQ(read_file(folder.path() / "beside"), "whole");
  first.publish();
  EXPECT_EQ(read_file(target / "a"), "1");
}

TEST(StagedFolder, PutsOnlyItsOwnInPlace) {
  const TemporaryFolder folder;
  StagedFolder staged(folder.path() / "model");
  std::ofstream(staged.path() / "a") << "1";
  fs::rename(staged.path(), folder.path() / "taken");
  fs::create_directory(staged.path());  // under the same name
  EXPECT_TRUE(holds(error_of<Error>([&] { staged.publish(); }), "model: .model.tmp-"));
  EXPECT_FALSE(fs::exists(folder.path() / "model"));
}

TEST(StagedFolder, IsCalledByItsOwnNameInMessages) {
  const TemporaryFolder folder;
  const StagedFolder staged(folder.path() / "model");
  const auto write = [](std::ostream& out) { out.setstate(std::ios::badbit); };  // as a full disk does
  const std::string message = error_of<Error>([&] { write_file_atomically(staged.path() / "config.json", write); });
  EXPECT_TRUE(holds(message, (folder.path() / "model" / "config.json").string() + ": could not be written"));
}

TEST(AsideName, IsTakenApart) {
  const fs::path path = aside("dir/model-1.tmp", "old");
  EXPECT_EQ(path.parent_path(), "dir");
  const auto name = aside_name(path.filename().string());
  ASSERT_TRUE(name.has_value());
  EXPECT_EQ(name->name, "model-1.tmp");
  EXPECT_EQ(name->tag, "old");
  EXPECT_NE(aside("x", "tmp"), aside("x", "tmp"));
  EXPECT_EQ(without_aside("/a/.model.tmp-12-0a0b0c0d/config.json"), "/a/model/config.json");
  EXPECT_EQ(without_aside("/a/.model.tmp-/config.json"), "/a/.model.tmp-/config.json");
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

}  // namespace
}  // namespace rrhf
