#include "rrhf/data/token_cache.h"

#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "rrhf/core/file.h"
#include "tests/data/support.h"

namespace rrhf::data::testing {
namespace {

namespace fs = std::filesystem;
using rrhf::testing::error_of;
using rrhf::testing::holds;

const std::string key = "0123456789abcdef0123456789abcdef" + std::string(32, 'f');

void write_rows(const TokenWriter::Sink& sink, std::int64_t count) {
  TokenWriter writer(sink, key, 100);
  for (std::int64_t i = 0; i < count; ++i) {
    writer.add({.prompt = {1}, .responses = {{2, 3}}, .rewards = {1}, .padded_length = 3, .index = 0, .group = {}});
  }
  writer.finish({.files = {{count, false}}});
}

class TokenCache : public ::testing::Test {
 protected:
  TokenRows rows() {
    return cached_rows(folder_, key, [&](const TokenWriter::Sink& sink) {
      ++made_;
      write_rows(sink, 3);
    });
  }
  fs::path file() const { return folder_ / "0123456789abcdef0123456789abcdef.tokens"; }
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : fs::directory_iterator(folder_)) result.push_back(entry.path().filename().string());
    return result;
  }

  ScratchFolder scratch_;
  fs::path folder_ = scratch_.path() / "deep" / "cache";
  std::atomic<int> made_ = 0;
};

TEST_F(TokenCache, MakesRowsOnceAndLeavesNothingElse) {
  EXPECT_EQ(rows().size(), 3);
  EXPECT_EQ(rows().size(), 3);
  EXPECT_EQ(made_, 1);
  EXPECT_EQ(names(), std::vector<std::string>{file().filename().string()});
}

TEST_F(TokenCache, NamesAFileThatIsNoGoodAndMakesItAgain) {
  rows();
  const std::string whole = read_file(file());
  for (const std::string& bad : {whole.substr(0, whole.size() / 2), std::string("hello"), std::string()}) {
    write_file_atomically(file(), bad);
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(rows().size(), 3);
    const std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_TRUE(holds(said, file().string()));
    EXPECT_TRUE(holds(said, "it is made again"));
    EXPECT_EQ(read_file(file()), whole);
  }
  EXPECT_EQ(made_, 4);
}

TEST_F(TokenCache, AFailureLeavesNothing) {
  const auto failing = [](const TokenWriter::Sink& sink) {
    sink("some bytes");
    throw_input("data", "row 7 is broken");
  };
  EXPECT_TRUE(holds(error_of([&] { cached_rows(folder_, key, failing); }), "row 7 is broken"));
  EXPECT_EQ(names(), std::vector<std::string>{});
  EXPECT_EQ(rows().size(), 3) << "and it can be tried again";
}

TEST_F(TokenCache, AFullDiskIsNamedWithAWayOut) {
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  fs::create_directories(folder_);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = error_of<Error>(
      [&] { cached_rows(folder_, key, [&](const TokenWriter::Sink& sink) { write_rows(sink, 100'000); }); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(holds(message, file().string() + ": tokens could not be written: File too large"));
  EXPECT_TRUE(holds(message, "data.cache=off"));
  EXPECT_EQ(names(), std::vector<std::string>{});
}

TEST_F(TokenCache, AFolderThatCannotBeIsRefused) {
  folder_ = scratch_.write("file", "x") / "cache";
  EXPECT_TRUE(holds(error_of([&] { rows(); }), "file/cache: could not be created"));
  EXPECT_EQ(made_, 0);
}

TEST_F(TokenCache, SeveralAtOnceMakeTheRowsOnce) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const TokenRows found = cached_rows(folder_, key, [&](const TokenWriter::Sink& sink) {
        ++made_;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        write_rows(sink, 3);
      });
      EXPECT_EQ(found.size(), 3);
    });
  }
  threads.clear();
  EXPECT_EQ(made_, 1);
  EXPECT_EQ(names().size(), 1u);
}

TEST_F(TokenCache, WhatAKilledProcessLeftIsNoHindrance) {
  fs::create_directories(folder_);
  std::ofstream(folder_ / "0123456789abcdef0123456789abcdef.lock") << "";
  // No process has this number: pids end at 4194304.
  std::ofstream(folder_ / ".0123456789abcdef0123456789abcdef.tokens.tmp-999999999") << "half";
  EXPECT_EQ(rows().size(), 3);
  EXPECT_EQ(names().size(), 1u);
}

}  // namespace
}  // namespace rrhf::data::testing
