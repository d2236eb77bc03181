#include "rrhf/core/log.h"

#include <gtest/gtest.h>

#include <limits>

namespace rrhf {
namespace {

TEST(Log, ShortensNumbersToThreeDigits) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(7), "7");
  EXPECT_EQ(short_number(0.5), "0.50");
  EXPECT_EQ(short_number(12.34), "12.3");
  EXPECT_EQ(short_number(9.996), "10.0");
  EXPECT_EQ(short_number(999), "999");
  EXPECT_EQ(short_number(999.6), "1.00k");
  EXPECT_EQ(short_number(1840), "1.84k");
  EXPECT_EQ(short_number(312'000), "312k");
  EXPECT_EQ(short_number(134'100'000), "134M");
  EXPECT_EQ(short_number(2'100'000), "2.10M");
  EXPECT_EQ(short_number(6.7e9), "6.70G");
  EXPECT_EQ(short_number(1.5e15), "1500T");
  EXPECT_EQ(short_number(-1840), "-1.84k");
}

TEST(Log, WritesTimes) {
  EXPECT_EQ(clock_time(0), "00:00");
  EXPECT_EQ(clock_time(252.4), "04:12");
  EXPECT_EQ(clock_time(59.6), "01:00");
  EXPECT_EQ(clock_time(3852), "1:04:12");
  EXPECT_EQ(clock_time(360'000), "100:00:00");
  EXPECT_EQ(clock_time(-3), "00:00");
}

TEST(Log, GroupsDigits) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(12345), "12,345");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(with_commas(std::numeric_limits<long long>::min()), "-9,223,372,036,854,775,808");
}

TEST(Log, CountsThings) {
  EXPECT_EQ(counted(1, "query", "queries"), "1 query");
  EXPECT_EQ(counted(0, "query", "queries"), "0 queries");
  EXPECT_EQ(counted(1500, "query", "queries"), "1,500 queries");
}

TEST(Log, LeavesOutTheLeastImportantPartsFirst) {
  const std::vector<StatusPart> parts{{"step 1"}, {"(part)", 2}, {"loss \u00e9", 1}, {"ETA 1"}};
  // 6 + 1 + 6 + 2 + 6 + 2 + 5 = 28 characters, one of them of two bytes
  EXPECT_EQ(fit_parts(parts, 28), "step 1 (part)  loss \u00e9  ETA 1");
  EXPECT_EQ(fit_parts(parts, 27), "step 1  loss \u00e9  ETA 1");
  EXPECT_EQ(fit_parts(parts, 21), "step 1  loss \u00e9  ETA 1");
  EXPECT_EQ(fit_parts(parts, 20), "step 1  ETA 1");
  EXPECT_EQ(fit_parts(parts, 2), "step 1  ETA 1");
}

TEST(Log, DrawsBars) {
  EXPECT_EQ(bar(0, 4), "[    ]   0 %");
  EXPECT_EQ(bar(0.5, 4), "[=>  ]  50 %");
  EXPECT_EQ(bar(1, 4), "[====] 100 %");
  EXPECT_EQ(bar(7, 4), "[====] 100 %");
  EXPECT_EQ(bar(-1, 4), "[    ]   0 %");
}

TEST(Log, WritesLinesToStandardError) {
  ::testing::internal::CaptureStderr();
  log("step {}", 3);
  warn("{} skipped", 2);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "step 3\nwarning: 2 skipped\n");
  ::testing::internal::CaptureStdout();
  print_line("result");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "result\n");
}

}  // namespace
}  // namespace rrhf
