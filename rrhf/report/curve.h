// From a run's rows to the points of a curve.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/report/report.h"

namespace rrhf::report {

struct Point {
  double x = 0;
  double y = 0;
};

/// The rows that have the metric, as (step, value).
std::vector<Point> points_of(std::span<const Row> rows, std::string_view metric);

/// An exponential moving average over about a thirtieth of the points, started without bias toward zero.
/// Short curves come back as they are.
std::vector<Point> smoothed(std::span<const Point> points);

/// At most about `limit` points with the same shape: the lowest and the highest of each stretch.
std::vector<Point> thinned(std::span<const Point> points, std::size_t limit);

/// Round numbers covering lowest .. highest, about `count` of them; the first and last lie at or beyond the ends.
std::vector<double> round_ticks(double lowest, double highest, int count);

/// The numbers in as few digits as tell them apart: "0.25", "2e-05", "1.5k".
std::string tick_label(double value, double spacing);

}  // namespace rrhf::report
