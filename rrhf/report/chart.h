// One chart as inline SVG: axes, gridlines, curves, and a readout of all values where the mouse is, without scripts.
#pragma once

#include <string>
#include <vector>

#include "rrhf/report/curve.h"

namespace rrhf::report {

/// How the numbers of a chart are written.
enum class Unit { plain, percent };
std::string value_text(double value, Unit unit);                 ///< "0.1710", "63.1 %"
std::string tick_text(double value, double spacing, Unit unit);  ///< in as few digits as tell ticks apart

struct Curve {
  std::string label;          ///< as in the legend
  std::vector<Point> points;  ///< steps rising
  int color = 0;              ///< which of the page's series colors
  bool evaluation = false;    ///< drawn with a mark at every point, never smoothed
};

struct Chart {
  std::string title;
  std::string caption;  ///< one line on what is good, or what is shown
  std::vector<Curve> curves;
  Unit unit = Unit::plain;
  bool smooth = true;  ///< false: what is shown has no noise
};

/// The colors the style sheet has; color numbers wrap around.
inline constexpr int series_colors = 8;

/// The chart as a <figure>; empty when no curve has a point.
std::string svg_chart(const Chart& chart);

}  // namespace rrhf::report
