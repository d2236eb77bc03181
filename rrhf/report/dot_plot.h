// One figure of several models as inline SVG: a line a name, a dot a value, a bar at their mean.
#pragma once

#include <string>
#include <vector>

#include "rrhf/report/chart.h"

namespace rrhf::report {

struct DotLine {
  std::string name;
  std::vector<double> values;
  int color = -1;  ///< which of the page's series colors; -1: that of text
};

struct DotPlot {
  std::string title;
  std::string caption;
  std::vector<DotLine> lines;  ///< from top to bottom
  Unit unit = Unit::plain;
};

/// The plot as a <figure>; empty when no line has a value.
std::string svg_dot_plot(const DotPlot& plot);

}  // namespace rrhf::report
