#include "rrhf/core/stop.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

namespace rrhf {
namespace {

TEST(StopSignals, TurnSignalsIntoAQuestion) {
  {
    const StopSignals signals;
    EXPECT_FALSE(StopSignals::requested());
    std::raise(SIGTERM);
    EXPECT_TRUE(StopSignals::requested());
  }
  const StopSignals again;  // a new one begins without a request
  EXPECT_FALSE(StopSignals::requested());
  std::raise(SIGINT);
  EXPECT_TRUE(StopSignals::requested());
}

TEST(StopSignals, TakeTheEndOfATerminalLikeATermination) {
  {
    const StopSignals signals;
    std::raise(SIGHUP);
    EXPECT_TRUE(StopSignals::requested());
  }
  std::signal(SIGHUP, SIG_IGN);  // as nohup leaves it
  {
    const StopSignals signals;
    std::raise(SIGHUP);
    EXPECT_FALSE(StopSignals::requested());
  }
  EXPECT_EQ(std::signal(SIGHUP, SIG_DFL), SIG_IGN);
}

TEST(StopSignalsDeathTest, ASecondRequestEndsTheProcessButNotARepeatedOne) {
  EXPECT_EXIT(
      {
        const StopSignals signals;
        std::raise(SIGINT);
        std::raise(SIGINT);
        std::raise(SIGTERM);
        std::fputs("still here", stderr);
        std::this_thread::sleep_for(std::chrono::milliseconds(600));
        std::raise(SIGINT);
      },
      ::testing::KilledBySignal(SIGINT), "still here");
}

}  // namespace
}  // namespace rrhf
