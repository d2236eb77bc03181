#include "rrhf/report/dot_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "rrhf/core/unicode.h"
#include "rrhf/report/curve.h"
#include "rrhf/report/format.h"

namespace rrhf::report {
namespace {

constexpr double plot_width = 560, plot_right = 24, line_height = 26, axis_height = 28;
constexpr double letter_width = 6.6;  // of the ticks' letters, about
constexpr std::size_t most_of_name = 44;

// The end of a long name tells combinations apart as well as its beginning.
std::string short_middle(const std::string& name) {
  if (code_points(name) <= most_of_name) return name;
  const std::string valid = valid_utf8(name);
  return fmt::format("{}{}", shorten(valid, most_of_name / 2), last_code_points(valid, most_of_name / 2 - 3));
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

class DotPainter {
 public:
  DotPainter(const DotPlot& plot, double low, double high)
      : plot_(plot), ticks_(round_ticks(low, high, 4)), bottom_(line_height * static_cast<double>(plot.lines.size())) {
    std::size_t longest = 0;
    for (const DotLine& line : plot.lines) longest = std::max(longest, code_points(short_middle(line.name)));
    left_ = 28 + letter_width * static_cast<double>(longest);
  }

  std::string paint() const {
    std::string svg = fmt::format(R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{} of the models">)", plot_width,
                                  bottom_ + axis_height, escape(plot_.title)) +
                      "\n" + axis();
    for (std::size_t i = 0; i < plot_.lines.size(); ++i) svg += line(plot_.lines[i], static_cast<double>(i));
    return svg + "</svg>";
  }

 private:
  double x(double value) const {
    const double share = (value - ticks_.front()) / (ticks_.back() - ticks_.front());
    return left_ + (plot_width - left_ - plot_right) * share;
  }

  std::string axis() const {
    const double spacing = ticks_[1] - ticks_[0];
    std::string svg;
    for (const double tick : ticks_) {
      svg += fmt::format(
          R"(<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/><text class="tick" x="{0:.1f}" y="{2}" text-anchor="middle">{3}</text>)",
          x(tick), bottom_, bottom_ + 17, tick_text(tick, spacing, plot_.unit));
    }
    return svg + "\n";
  }

  std::string line(const DotLine& line, double number) const {
    const double y = line_height * (number + 0.5);
    const std::string style = line.color < 0 ? "start" : fmt::format("s{}", line.color % series_colors);
    std::string words = line.name, dots;
    for (const double value : line.values) {
      dots += fmt::format(R"(<circle class="mark" cx="{:.1f}" cy="{}" r="4"/>)", x(value), y);
    }
    if (!line.values.empty()) {
      const double mean = mean_of(line.values);
      words += "  " + value_text(mean, plot_.unit);
      dots += fmt::format(R"(<line class="mean" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>)", x(mean), y - 9, y + 9);
      for (const double value : line.values.size() > 1 ? line.values : std::vector<double>{}) {
        words += "\n" + value_text(value, plot_.unit);
      }
    }
    return fmt::format(
               R"(<g class="{0}"><rect class="reach" x="0" y="{1}" width="{2}" height="{3}"/><text class="tick" x="{4}" y="{5}" text-anchor="end">{6}</text>{7}<title>{8}</title></g>)",
               style, y - line_height / 2, plot_width, line_height, left_ - 12, y + 4, escape(short_middle(line.name)),
               dots, escape(words)) +
           "\n";
  }

  const DotPlot& plot_;
  std::vector<double> ticks_;
  double bottom_, left_;
};

}  // namespace

std::string svg_dot_plot(const DotPlot& plot) {
  std::vector<double> all;
  for (const DotLine& line : plot.lines) all.insert(all.end(), line.values.begin(), line.values.end());
  if (all.empty()) return "";
  const auto [low, high] = std::ranges::minmax(all);
  return fmt::format("<figure><figcaption><b>{}</b> <span>{}</span></figcaption>\n", escape(plot.title),
                     escape(plot.caption)) +
         DotPainter(plot, low, high).paint() + "</figure>\n";
}

}  // namespace rrhf::report
