#include "rrhf/core/part_file.h"

#include <sys/stat.h>

#include "rrhf/core/file.h"
#include "support.h"

namespace rrhf {
namespace {

using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

const Json identity = {{"source", "model"}, {"max_length", 512}};

TEST(PartFile, GoesOnAfterWhatWasFinished) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out.jsonl";
  {
    PartFile part("score", out, identity, false);
    EXPECT_TRUE(part.finished().empty());
    part.add({Json{0.1, 1.0 / 3}, "too long"});
    part.add({Json::object({{"text", "\u00e4"}})});
  }
  PartFile part("score", out, identity, false);
  ASSERT_EQ(part.finished().size(), 3u);
  EXPECT_EQ(part.finished()[0].get<std::vector<double>>(), (std::vector<double>{0.1, 1.0 / 3}));  // to the last bit
  EXPECT_EQ(part.finished()[1], "too long");
  EXPECT_EQ(part.finished()[2]["text"], "\u00e4");
  part.remove();
  EXPECT_EQ(folder.entries(), 0);
}

TEST(PartFile, DropsATornLine) {
  const TemporaryFolder folder;
  folder.write("out.part", dump_json(identity) + "\n{\"row\":0,\"result\":[1.5]}\n{\"row\":1,\"res");
  {
    PartFile part("score", folder.path() / "out", identity, false);
    ASSERT_EQ(part.finished().size(), 1u);
    part.add({7});
  }
  EXPECT_EQ(read_file(folder.path() / "out.part"),
            dump_json(identity) + "\n{\"row\":0,\"result\":[1.5]}\n{\"row\":1,\"result\":7}\n");
}

TEST(PartFile, StopsAtALineThatDoesNotFollow) {
  const TemporaryFolder folder;
  const auto path = dump_json(identity) + "\n{\"row\":0,\"result\":1}\n{\"row\":2,\"result\":3}\n";
  folder.write("out.part", path);
  EXPECT_EQ(PartFile("score", folder.path() / "out", identity, false).finished().size(), 1u);
}

TEST(PartFile, BeginsAnewWhereEvenTheFirstLineIsTorn) {
  const TemporaryFolder folder;
  folder.write("out.part", "{\"source\": \"mo");
  EXPECT_TRUE(PartFile("score", folder.path() / "out", identity, false).finished().empty());
}

TEST(PartFile, RefusesOtherWorkUnlessToldToRestart) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  PartFile("score", out, identity, false).add({1});
  const Json other = {{"source", "model"}, {"max_length", 96}, {"eos", true}};
  const std::string message = error_of([&] { PartFile("score", out, other, false); });
  EXPECT_TRUE(holds(message, "[score] "));
  EXPECT_TRUE(holds(message, "--restart begins anew):\n  max_length: 512 then, 96 now\n  eos: nothing then, true now"));
  EXPECT_FALSE(holds(message, "source"));
  EXPECT_TRUE(holds(error_of([&] {
                      PartFile("score", out, Json::object({{"source", "model"}}), false);
                    }),
                    "512 then, nothing now"));
  EXPECT_TRUE(PartFile("score", out, other, true).finished().empty());
}

TEST(PartFile, IsHeldByOneRunAtATime) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  PartFile part("score", out, identity, false);
  part.add({1});
  for (const bool restart : {false, true}) {
    const std::string message = error_of([&] { PartFile("score", out, identity, restart); });
    EXPECT_TRUE(holds(message, "out.part: another run is at work on it")) << message;
  }
  part.add({2});
  EXPECT_EQ(read_file(folder.path() / "out.part"),
            dump_json(identity) + "\n{\"row\":0,\"result\":1}\n{\"row\":1,\"result\":2}\n");
}

TEST(PartFile, TakesNothingButARegularFile) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out", part = folder.path() / "out.part";
  const auto refused = [&] {
    EXPECT_THROW(PartFile("score", out, identity, false), InputError);
    std::filesystem::remove(part);
  };
  ASSERT_EQ(::mkfifo(part.c_str(), 0600), 0);
  refused();
  std::filesystem::create_directory(part);
  refused();
  std::filesystem::create_symlink(folder.path() / "nowhere", part);
  refused();
}

TEST(PartFile, NeedsAFolderThatTakesIt) {
  EXPECT_THROW(PartFile("score", "/no/such/folder/out", identity, false), Error);
}

}  // namespace
}  // namespace rrhf
