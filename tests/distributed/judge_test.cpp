// Who is blamed, from signs of life given by hand. Beats are 1 s apart, the timeout is 60 s; the moment is 1000 s.
#include "rrhf/distributed/judge.h"

#include <gtest/gtest.h>

namespace rrhf::distributed {
namespace {

using std::chrono::seconds;

constexpr Limits limits{.timeout = seconds(60), .beat = seconds(1)};

Moment at(double second) {
  return Moment() + std::chrono::duration_cast<Moment::duration>(std::chrono::duration<double>(second));
}

// Four ranks on two machines, all alive and in the same collective; this is rank 0.
Observed all_well() {
  Observed observed{.rank = 0,
                    .signs = {},
                    .now = at(1000),
                    .store_answered = at(1000),
                    .store = "rank 0, which holds the meeting point a:1,",
                    .collectives = 8,
                    .last_collective = at(998),
                    .operation = "all_reduce"};
  for (const char* host : {"a", "a", "b", "b"}) {
    observed.signs.push_back({.host = host, .collectives = 8, .left = false, .seen = at(999)});
  }
  return observed;
}

TEST(Judge, BlamesNobodyWhileAllAreWell) { EXPECT_EQ(judge(all_well(), limits), std::nullopt); }

TEST(Judge, WaitsForASilentRankAsLongAsTheTimeout) {
  Observed observed = all_well();
  observed.signs[2].seen = at(941);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.signs[2].seen = at(939);
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
  EXPECT_EQ(verdict->exit_code, 1);
  EXPECT_EQ(verdict->text, "rank 2 on b gave no sign of life for 60 s: hung, stopped or cut off (parallel.timeout_s)");
}

TEST(Judge, CountsSilenceOnlyWhileItListened) {
  Observed observed = all_well();
  observed.store_answered = at(950);
  for (Sign& sign : observed.signs) sign.seen = at(900);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
}

TEST(Judge, NeverLooksAtItsOwnSign) {
  Observed observed = all_well();
  observed.signs[0].seen = at(0);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
}

TEST(Judge, ARankThatLeftMayBeSilent) {
  Observed observed = all_well();
  observed.signs[2] = {.host = "b", .collectives = 8, .left = true, .seen = at(0)};
  EXPECT_EQ(judge(observed, limits), std::nullopt);
}

TEST(Judge, DoesNotTakeTheOldCountOfARankItCantHearForAHang) {
  Observed observed = all_well();
  observed.signs[3].collectives = 7;
  observed.signs[3].seen = at(994);
  observed.last_collective = at(939);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
}

TEST(Judge, BlamesTheRankThatTheOthersWaitFor) {
  Observed observed = all_well();
  observed.signs[3].collectives = 7;
  observed.last_collective = at(941);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.last_collective = at(939);
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 3);
  EXPECT_EQ(verdict->text,
            "rank 3 on b hung: the others have waited for it in all_reduce for 60 s (parallel.timeout_s; a longer one "
            "if it was only slow)");
}

TEST(Judge, DoesNotBlameAnybodyForALongComputation) {
  Observed observed = all_well();
  observed.last_collective = at(100);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.signs[1].collectives = 9;  // it waits for this rank, which is computing
  EXPECT_EQ(judge(observed, limits), std::nullopt);
}

TEST(Judge, AfterABrokenCollectiveASilentRankIsDeadWithinFiveBeats) {
  Observed observed = all_well();
  observed.broken = at(996);
  observed.broken_text = "all_reduce failed: Connection closed by peer";
  observed.signs[1].seen = at(995.5);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.signs[1].seen = at(994.5);
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 1);
  EXPECT_EQ(verdict->text, "rank 1 on a died or can't be reached (all_reduce failed: Connection closed by peer)");
}

TEST(Judge, NamesAWholeMachineTogether) {
  Observed observed = all_well();
  observed.broken = at(996);
  observed.broken_text = "timed out";
  observed.signs[2].seen = at(994.5);
  observed.signs[3].seen = at(995.5);
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 2);
  EXPECT_EQ(verdict->text, "ranks 2, 3 on b died or can't be reached (timed out)");
}

TEST(Judge, ARankThatLeftBreaksTheOthersCollectives) {
  Observed observed = all_well();
  observed.broken = at(999);
  observed.broken_text = "timed out";
  observed.signs[3].left = true;
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->text, "rank 3 on b left the run while the others went on (timed out)");
}

TEST(Judge, WithAllAliveTheFailureItselfIsTheCause) {
  Observed observed = all_well();
  observed.broken = at(990.5);
  observed.broken_text = "all_gather failed: size mismatch";
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.broken = at(989);
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 0);
  EXPECT_EQ(verdict->text, "rank 0 on a can't go on, though all ranks are alive: all_gather failed: size mismatch");
}

TEST(Judge, ACollectiveThatAllCameToAndThatDoesNotEndHasFailed) {
  Observed observed = all_well();
  observed.last_collective = at(931);
  observed.waiting = observed.last_collective;  // 69 s: the timeout, and 10 s in which a late rank is named
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.last_collective = at(929);
  observed.waiting = observed.last_collective;
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->rank, 0);
  EXPECT_EQ(verdict->text,
            "rank 0 on a can't go on, though all ranks are alive and have come as far: all_reduce has not ended for 71 "
            "s (parallel.timeout_s)");
  observed.signs[3].collectives = 7;
  EXPECT_EQ(judge(observed, limits)->rank, 3) << "who is late is to blame";
}

TEST(Judge, LeavesOutTheTimeInWhichTheProcessItselfWasStopped) {
  // All were stopped from 1000 to 2000 while rank 3 was one collective behind.
  Observed observed = all_well();
  observed.signs[3].collectives = 7;
  observed.waiting = at(998);
  leave_out(seconds(1000), at(2000), observed);
  observed.now = at(2000);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.store_answered = observed.now = at(2003);  // nobody has been heard again
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  EXPECT_EQ(observed.signs[1].seen, at(1999));
  EXPECT_EQ(observed.last_collective, at(1998));
  EXPECT_EQ(*observed.waiting, at(1998));
  observed.signs[2].seen = at(2002);  // heard before the clock was looked at: no moment lies ahead
  leave_out(seconds(1000), at(2003), observed);
  EXPECT_EQ(observed.signs[2].seen, at(2003));
  // From then on silence counts.
  observed.store_answered = observed.now = at(2066);
  EXPECT_EQ(judge(observed, limits)->rank, 1);
}

TEST(Judge, AMeetingPointThatDoesNotAnswerEndsTheRank) {
  Observed observed = all_well();
  observed.store_answered = at(941);
  for (Sign& sign : observed.signs) sign.seen = at(941);
  EXPECT_EQ(judge(observed, limits), std::nullopt);
  observed.store_answered = at(939);
  const auto verdict = judge(observed, limits);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->text,
            "rank 0, which holds the meeting point a:1, has not answered for 61 s: the link to it is cut, or it is "
            "stuck");
}

TEST(Verdict, GoesThroughAWordAndBack) {
  const Verdict verdict{.rank = 12, .exit_code = 2, .spoken = true, .text = "rank 12 on a: two\nlines  and spaces "};
  EXPECT_EQ(from_word(to_word(verdict)), verdict);
  EXPECT_EQ(from_word(to_word(Verdict())), Verdict());
  EXPECT_THROW(from_word(""), Error);
  EXPECT_THROW(from_word("1 2"), Error);
  EXPECT_THROW(from_word("rank 1 died"), Error);
}

TEST(Verdict, OfAnExceptionCarriesItsMessageAndExitCode) {
  const Place place{.rank = 3, .size = 4, .host = "a"};
  EXPECT_EQ(verdict_of(place, InputError("data", "x:1: no")),
            (Verdict{.rank = 3, .exit_code = 2, .spoken = true, .text = "rank 3 on a failed: [data] x:1: no"}));
  EXPECT_EQ(verdict_of(place, std::runtime_error("first\nframe #0")),
            (Verdict{.rank = 3, .exit_code = 1, .spoken = true, .text = "rank 3 on a failed: first"}));
}

}  // namespace
}  // namespace rrhf::distributed
