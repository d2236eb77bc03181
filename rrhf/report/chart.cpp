#include "rrhf/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "rrhf/report/format.h"

namespace rrhf::report {
namespace {

constexpr double width = 560, height = 260, left = 52, right = 14, top = 12, bottom = 30;
constexpr std::size_t most_points = 600, most_probes = 80;

// Where values lie on the paper.
struct Frame {
  std::vector<double> x_ticks, y_ticks;
  double first_step, last_step;

  double x(double step) const {
    const double span = last_step - first_step;
    return left + (width - left - right) * (span > 0 ? (step - first_step) / span : 0.5);
  }
  double y(double value) const {
    const double share = (value - y_ticks.front()) / (y_ticks.back() - y_ticks.front());
    return height - bottom - (height - top - bottom) * share;
  }
};

Frame frame_of(const std::vector<Curve>& curves) {
  Point low = curves.front().points.front(), high = low;
  for (const Curve& curve : curves) {
    for (const Point& point : curve.points) {
      low = {std::min(low.x, point.x), std::min(low.y, point.y)};
      high = {std::max(high.x, point.x), std::max(high.y, point.y)};
    }
  }
  Frame frame{{}, round_ticks(low.y, high.y, 4), low.x, high.x};
  if (high.x == low.x) {
    frame.x_ticks = {low.x};
  } else {
    for (const double tick : round_ticks(low.x, high.x, 6)) {
      if (tick >= low.x && tick <= high.x && tick == std::floor(tick)) frame.x_ticks.push_back(tick);
    }
  }
  return frame;
}

std::string grid(const Frame& frame, Unit unit) {
  const double spacing = frame.y_ticks[1] - frame.y_ticks[0];
  std::string svg;
  for (const double tick : frame.y_ticks) {
    svg += fmt::format(
        R"(<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/><text class="tick" x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>)",
        left, width - right, frame.y(tick), left - 7, frame.y(tick) + 4, tick_text(tick, spacing, unit));
  }
  for (const double tick : frame.x_ticks) {
    svg += fmt::format(
        R"(<line class="axis" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/><text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>)",
        frame.x(tick), height - bottom, height - bottom + 4, height - bottom + 17, tick_label(tick, 1));
  }
  svg += fmt::format(R"(<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>)", left, width - right, height - bottom,
                     height - bottom);
  return svg + "\n";
}

std::string polyline(const Frame& frame, const std::vector<Point>& points, std::string_view style, int color) {
  std::string list;
  for (const Point& point : thinned(points, most_points)) {
    list += fmt::format("{:.1f},{:.1f} ", frame.x(point.x), frame.y(point.y));
  }
  if (!list.empty()) list.pop_back();
  return fmt::format(R"(<polyline class="{} s{}" points="{}"/>)", style, color % series_colors, list) + "\n";
}

std::string marks(const Frame& frame, const Curve& curve, double radius) {
  std::string svg;
  for (const Point& point : thinned(curve.points, most_probes)) {
    svg += fmt::format(R"(<circle class="mark s{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>)", curve.color % series_colors,
                       frame.x(point.x), frame.y(point.y), radius);
  }
  return svg + "\n";
}

std::string draw(const Frame& frame, const Curve& curve, bool smooth) {
  if (curve.evaluation) return polyline(frame, curve.points, "eval", curve.color) + marks(frame, curve, 3.5);
  if (curve.points.size() == 1) return marks(frame, curve, 3.5);
  if (!smooth) return polyline(frame, curve.points, "line", curve.color);
  return polyline(frame, curve.points, "raw", curve.color) +
         polyline(frame, smoothed(curve.points), "line", curve.color);
}

// The steps a readout is made for: those of the training, thinned evenly, and of the evaluations.
std::vector<double> probe_steps(const std::vector<Curve>& curves) {
  std::set<double> training, chosen;
  for (const Curve& curve : curves) {
    const auto points = curve.evaluation ? thinned(curve.points, most_probes) : curve.points;
    for (const Point& point : points) (curve.evaluation ? chosen : training).insert(point.x);
  }
  const std::vector<double> steps(training.begin(), training.end());
  const std::size_t count = std::min(steps.size(), most_probes);
  for (std::size_t i = 0; i < count; ++i) {
    chosen.insert(steps[count == 1 ? 0 : i * (steps.size() - 1) / (count - 1)]);
  }
  return {chosen.begin(), chosen.end()};
}

// The curve's point nearest to a step, when it is not farther than `reach`.
const Point* point_near(const Curve& curve, double step, double reach) {
  const auto nearest =
      std::min_element(curve.points.begin(), curve.points.end(),
                       [step](const Point& a, const Point& b) { return std::abs(a.x - step) < std::abs(b.x - step); });
  return nearest != curve.points.end() && std::abs(nearest->x - step) <= reach ? &*nearest : nullptr;
}

// The curve's label, told apart from the training curve of the same label.
std::string label_in(const Chart& chart, const Curve& curve) {
  const bool shared = std::any_of(chart.curves.begin(), chart.curves.end(), [&curve](const Curve& other) {
    return !other.evaluation && other.label == curve.label;
  });
  return curve.evaluation && shared ? curve.label + " (evaluation)" : curve.label;
}

// A strip of the chart that shows its values while the mouse is over it.
std::string probe(const Frame& frame, const Chart& chart, double step, double from, double to) {
  std::string words = fmt::format("step {:g}", step), dots;
  for (const Curve& curve : chart.curves) {
    const Point* point = point_near(curve, step, curve.evaluation ? 0 : 0.5);
    if (!point) continue;
    const std::string value = value_text(point->y, chart.unit);
    words += fmt::format("\n{}  {}", label_in(chart, curve), value);
    dots += fmt::format(R"(<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="4"/>)", curve.color % series_colors,
                        frame.x(point->x), frame.y(point->y));
  }
  return fmt::format(
             R"(<g class="probe"><rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/><line x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>{}<title>{}</title></g>)",
             from, top, to - from, height - top - bottom, frame.x(step), frame.x(step), top, height - bottom, dots,
             escape(words)) +
         "\n";
}

std::string probes(const Frame& frame, const Chart& chart) {
  const auto steps = probe_steps(chart.curves);
  std::string svg;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const double from = i == 0 ? left : (frame.x(steps[i - 1]) + frame.x(steps[i])) / 2;
    const double to = i + 1 == steps.size() ? width - right : (frame.x(steps[i]) + frame.x(steps[i + 1])) / 2;
    svg += probe(frame, chart, steps[i], from, to);
  }
  return svg;
}

std::string legend(const std::vector<Curve>& curves) {
  std::string entries;
  std::set<std::pair<int, std::string>> seen;
  for (const Curve& curve : curves) {
    if (!seen.emplace(curve.color, curve.label).second) continue;
    entries += fmt::format(R"(<span><i class="key{} s{}"></i>{}</span>)", curve.evaluation ? " keyeval" : "",
                           curve.color % series_colors, escape(curve.label));
  }
  return seen.size() < 2 ? "" : "<div class=\"legend\">" + entries + "</div>\n";
}

}  // namespace

std::string value_text(double value, Unit unit) { return unit == Unit::percent ? percent(value) : figure(value); }

std::string tick_text(double value, double spacing, Unit unit) {
  return unit == Unit::percent ? fmt::format("{:.4g} %", 100 * value) : tick_label(value, spacing);
}

std::string svg_chart(const Chart& chart) {
  Chart drawn = chart;
  std::erase_if(drawn.curves, [](const Curve& curve) { return curve.points.empty(); });
  if (drawn.curves.empty()) return "";
  const Frame frame = frame_of(drawn.curves);
  std::string html = fmt::format("<figure><figcaption><b>{}</b> <span>{}</span></figcaption>\n", escape(chart.title),
                                 escape(chart.caption));
  html += legend(drawn.curves);
  html += fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{} over the steps of the run">)", width,
                      height, escape(chart.title)) +
          "\n" + grid(frame, chart.unit);
  for (const Curve& curve : drawn.curves) html += draw(frame, curve, chart.smooth);
  return html + probes(frame, drawn) + "</svg></figure>\n";
}

}  // namespace rrhf::report
