#include "rrhf/report/curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rrhf::report {

std::vector<Point> points_of(std::span<const Row> rows, std::string_view metric) {
  std::vector<Point> points;
  for (const Row& row : rows) {
    if (const auto value = row.value(metric)) points.push_back({static_cast<double>(row.step), *value});
  }
  return points;
}

std::vector<Point> smoothed(std::span<const Point> points) {
  std::vector<Point> result(points.begin(), points.end());
  const double window = static_cast<double>(points.size()) / 30;
  if (window <= 1) return result;
  const double keep = 1 - 1 / window;
  double sum = 0, weight = 0;
  for (Point& point : result) {
    sum = keep * sum + point.y;
    weight = keep * weight + 1;
    point.y = sum / weight;
  }
  return result;
}

std::vector<Point> thinned(std::span<const Point> points, std::size_t limit) {
  if (points.size() <= limit) return {points.begin(), points.end()};
  const std::size_t stretches = std::max<std::size_t>(1, limit / 2);
  std::vector<Point> result;
  for (std::size_t i = 0; i < stretches; ++i) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(i * points.size() / stretches);
    const auto end = points.begin() + static_cast<std::ptrdiff_t>((i + 1) * points.size() / stretches);
    auto [low, high] = std::minmax_element(begin, end, [](const Point& a, const Point& b) { return a.y < b.y; });
    if (high < low) std::swap(low, high);
    result.push_back(*low);
    if (low != high) result.push_back(*high);
  }
  return result;
}

std::vector<double> round_ticks(double lowest, double highest, int count) {
  // Values that differ by rounding alone are one value: ticks that fine could not be told apart.
  const double size = std::max(std::abs(lowest), std::abs(highest));
  if (!(highest - lowest > 1e-9 * size)) {
    const double around = size == 0 ? 1 : size / 2;
    lowest -= around;
    highest += around;
  }
  const double rough = (highest - lowest) / count;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double spacing = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) {
      spacing = factor * power;
      break;
    }
  }
  const double first = std::floor(lowest / spacing + 1e-9), last = std::ceil(highest / spacing - 1e-9);
  std::vector<double> ticks;
  for (double i = first; i <= last; ++i) ticks.push_back(i * spacing);
  return ticks;
}

std::string tick_label(double value, double spacing) {
  if (std::abs(value) < spacing * 1e-6) return "0";
  const double size = std::abs(value);
  if (size >= 1e4 || (size >= 1e3 && spacing >= 100)) {
    const bool mega = size >= 1e6;
    return fmt::format("{:g}{}", value / (mega ? 1e6 : 1e3), mega ? "M" : "k");
  }
  return size < 1e-3 ? fmt::format("{:.3g}", value) : fmt::format("{:.6g}", value);
}

}  // namespace rrhf::report
