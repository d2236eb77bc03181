#include "rrhf/report/curve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace rrhf::report {
namespace {

std::vector<Point> line(std::size_t count, double value) {
  std::vector<Point> points;
  for (std::size_t i = 0; i < count; ++i) points.push_back({static_cast<double>(i), value});
  return points;
}

TEST(PointsOf, TakesTheRowsThatHaveTheMetric) {
  const std::vector<Row> rows{{1, {{"loss", 3.0}}}, {2, {}}, {5, {{"loss", 2.0}}}};
  const auto points = points_of(rows, "loss");
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[1].x, 5);
  EXPECT_EQ(points[1].y, 2);
}

TEST(Smoothed, LeavesShortCurvesAlone) {
  auto points = line(30, 0);
  points[3].y = 9;
  EXPECT_EQ(smoothed(points)[3].y, 9);
}

TEST(Smoothed, AveragesWithFallingWeights) {
  // 60 points: a window of 2, each older value counts half: 0 then 6 gives (0 * 1/2 + 6) / (1/2 + 1) = 4.
  auto points = line(60, 6);
  points[0].y = 0;
  const auto smooth = smoothed(points);
  EXPECT_EQ(smooth[0].y, 0);
  EXPECT_DOUBLE_EQ(smooth[1].y, 4);
  EXPECT_NEAR(smooth[59].y, 6, 1e-12);
}

TEST(Smoothed, KeepsAConstant) {
  for (const Point& point : smoothed(line(1000, 2.5))) EXPECT_NEAR(point.y, 2.5, 1e-12);
}

TEST(Thinned, KeepsSpikes) {
  auto points = line(10000, 1);
  points[777].y = 50;
  points[778].y = -50;
  const auto few = thinned(points, 100);
  EXPECT_LE(few.size(), 100u);
  const auto has = [&few](double y) {
    return std::any_of(few.begin(), few.end(), [y](const Point& p) { return p.y == y; });
  };
  EXPECT_TRUE(has(50) && has(-50));
  EXPECT_TRUE(std::is_sorted(few.begin(), few.end(), [](const Point& a, const Point& b) { return a.x < b.x; }));
}

TEST(Thinned, LeavesFewPointsAlone) { EXPECT_EQ(thinned(line(100, 1), 100).size(), 100u); }

TEST(RoundTicks, CoversTheValuesInRoundNumbers) {
  EXPECT_EQ(round_ticks(0, 1, 5), (std::vector<double>{0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}));
  EXPECT_EQ(round_ticks(3, 97, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
  EXPECT_EQ(round_ticks(-7, 7, 4), (std::vector<double>{-10, -5, 0, 5, 10}));
}

TEST(RoundTicks, TakesValuesThatDifferByRoundingForOne) {
  const double value = 8.745123;
  EXPECT_EQ(round_ticks(value, std::nextafter(value, 9), 4), round_ticks(value, value, 4));
  EXPECT_EQ(round_ticks(-std::nextafter(value, 9), -value, 4).size(), round_ticks(-value, -value, 4).size());
}

TEST(RoundTicks, WidensASingleValue) {
  for (const double value : {0.0, 5.0, -3.0, 2e-5}) {
    const auto ticks = round_ticks(value, value, 4);
    EXPECT_GE(ticks.size(), 2u) << value;
    EXPECT_LT(ticks.front(), value);
    EXPECT_GT(ticks.back(), value);
  }
}

TEST(TickLabel, IsShort) {
  EXPECT_EQ(tick_label(0.6000000000000001, 0.2), "0.6");
  EXPECT_EQ(tick_label(1e-19, 0.2), "0");
  EXPECT_EQ(tick_label(2e-5, 5e-6), "2e-05");
  EXPECT_EQ(tick_label(1500, 500), "1.5k");
  EXPECT_EQ(tick_label(1005, 5), "1005");
  EXPECT_EQ(tick_label(20000, 5000), "20k");
  EXPECT_EQ(tick_label(2.5e6, 5e5), "2.5M");
}

}  // namespace
}  // namespace rrhf::report
