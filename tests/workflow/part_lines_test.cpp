#include "rrhf/workflow/part_lines.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

class PartLinesTest : public ::testing::Test {
 protected:
  PartLinesTest() {
    std::string name = (fs::temp_directory_path() / "rrhf-workflow-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~PartLinesTest() override { fs::remove_all(folder_); }

  PartLines lines(const Json& identity, std::size_t rows = 3, Existing existing = Existing::keep) const {
    return {out(), identity, rows, existing};
  }
  fs::path out() const { return folder_ / "out.jsonl"; }
  fs::path part() const { return folder_ / "out.jsonl.part"; }
  std::string refusal(const Json& identity) const {
    try {
      lines(identity);
    } catch (const InputError& failure) {
      return failure.what();
    }
    return "";
  }

  fs::path folder_;
  const Json settings_{{"seed", 1}};
};

TEST_F(PartLinesTest, RowsOfAnyOrderComeOutInOrder) {
  PartLines all = lines(settings_);
  for (const std::size_t row : {2u, 0u, 1u}) all.add(row, {{"n", row}});
  EXPECT_TRUE(fs::exists(part()));
  EXPECT_FALSE(fs::exists(out()));
  all.complete();
  EXPECT_EQ(read_file(out()), "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
  EXPECT_FALSE(fs::exists(part()));
}

TEST_F(PartLinesTest, GoesOnAfterWhatIsFinishedAndDropsATornLine) {
  lines(settings_).add(2, {{"n", 2}});
  write_file_atomically(part(), read_file(part()) + "{\"row\":0,\"line\":{\"n\"");
  PartLines later = lines(settings_);
  EXPECT_EQ(later.finished(), 1u);
  EXPECT_TRUE(later.has(2));
  EXPECT_FALSE(later.has(0));
  later.add(0, {{"n", 0}});
  later.add(1, {{"n", 1}});
  later.complete();
  EXPECT_EQ(read_file(out()), "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
}

TEST_F(PartLinesTest, RefusesWhatOtherSettingsFinished) {
  lines(settings_).add(0, {{"n", 0}});
  const std::string refused = refusal({{"seed", 2}, {"top-p", 0.5}});
  EXPECT_NE(refused.find("seed: 1 then, 2 now"), std::string::npos) << refused;
  EXPECT_NE(refused.find("top-p: nothing then, 0.5 now"), std::string::npos) << refused;
  EXPECT_NE(refusal(Json::object()).find("seed: 1 then, nothing now"), std::string::npos);
  EXPECT_EQ(refusal(settings_), "");
  EXPECT_EQ(lines({{"seed", 2}}, 3, Existing::overwrite).finished(), 0u);
  EXPECT_EQ(lines(settings_, 3, Existing::overwrite).finished(), 1u) << "a run that was told to overwrite goes on";
}

TEST_F(PartLinesTest, SettingsOfARunThatFinishedNothingDoNotMatter) {
  write_file_atomically(part(), "{\"seed\":7}\n");
  EXPECT_EQ(refusal(settings_), "");
}

TEST_F(PartLinesTest, OfARunThatFinishesNothingNothingStays) {
  { const PartLines all = lines(settings_); }
  EXPECT_FALSE(fs::exists(part()));
}

TEST_F(PartLinesTest, OneRunAtATime) {
  PartLines first = lines(settings_);
  first.add(0, {{"n", 0}});
  for (const Existing existing : {Existing::keep, Existing::overwrite}) {
    try {
      lines({{"seed", 2}}, 3, existing);
      ADD_FAILURE() << "two runs write one file";
    } catch (const InputError& failure) {
      EXPECT_NE(std::string(failure.what()).find("out.jsonl.part: another run is at work on it"), std::string::npos);
    }
  }
  first.add(1, {{"n", 1}});
  first.add(2, {{"n", 2}});
  first.complete();
  EXPECT_EQ(read_file(out()), "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
}

TEST_F(PartLinesTest, WhatAppearedMeanwhileIsKept) {
  PartLines all = lines(settings_, 1);
  all.add(0, {{"n", 0}});
  write_file_atomically(out(), "precious");
  EXPECT_THROW(all.complete(), InputError);
  EXPECT_EQ(read_file(out()), "precious");
  EXPECT_TRUE(fs::exists(part()));
}

TEST_F(PartLinesTest, AFileThatIsThereIsKept) {
  EXPECT_NO_THROW(require_free_place(out(), Existing::keep));
  write_file_atomically(out(), "precious");
  EXPECT_THROW(require_free_place(out(), Existing::keep), InputError);
  EXPECT_NO_THROW(require_free_place(out(), Existing::overwrite));
  EXPECT_THROW(require_free_place(folder_, Existing::overwrite), InputError);
  EXPECT_THROW(require_free_place(folder_ / "none" / "out", Existing::keep), InputError);
}

}  // namespace
}  // namespace rrhf::workflow
