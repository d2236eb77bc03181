#include "rrhf/report/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "rrhf/core/unicode.h"

namespace rrhf::report {

std::string figure(std::optional<double> value) {
  if (!value) return "-";
  char text[32];  // printf's "#" keeps the zeros, and leaves a bare point after four digits
  std::snprintf(text, sizeof text, "%#.4g", *value);
  const std::string_view written = text;
  return std::string(written.substr(0, written.size() - written.ends_with('.')));
}

std::string fixed(std::optional<double> value, int decimals) {
  return value && std::isfinite(*value) ? fmt::format("{:.{}f}", *value, decimals) : "-";
}

std::string percent(std::optional<double> value) { return value ? fmt::format("{:.1f} %", 100 * *value) : "-"; }

std::string setting(const Json& config, std::initializer_list<std::string_view> path) {
  const Json* at = &config;
  for (const std::string_view key : path) {
    if (!at->is_object() || !at->contains(std::string(key))) return "-";
    at = &(*at)[std::string(key)];
  }
  return at->is_string() ? at->get<std::string>() : dump_json(*at);
}

std::string escape(std::string_view text) {
  std::string result;
  for (const char c : valid_utf8(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::vector<std::size_t> column_widths(std::span<const TableLine> lines) {
  std::vector<std::size_t> widths(lines.empty() ? 0 : lines[0].size());
  for (const TableLine& line : lines) {
    for (std::size_t column = 0; column < line.size(); ++column) {
      widths[column] = std::max(widths[column], code_points(line[column]));
    }
  }
  return widths;
}

std::string in_columns(std::span<const TableLine> lines, std::size_t words) {
  const std::vector<std::size_t> widths = column_widths(lines);
  std::string table;
  for (const TableLine& line : lines) {
    for (std::size_t column = 0; column < line.size(); ++column) {
      const std::string gap(widths[column] - code_points(line[column]), ' ');
      table += (column == 0 ? "" : "  ") + (column < words ? line[column] + gap : gap + line[column]);
    }
    table += "\n";
  }
  return table;
}

std::vector<TableLine> under_headings(const TableLine& headings, std::vector<TableLine> lines) {
  TableLine upper, lower;
  for (const std::string& heading : headings) {
    const std::size_t end = heading.find('\n');
    upper.push_back(end == std::string::npos ? "" : heading.substr(0, end));
    lower.push_back(end == std::string::npos ? heading : heading.substr(end + 1));
  }
  lines.insert(lines.begin(), {std::move(upper), std::move(lower)});
  return lines;
}

}  // namespace rrhf::report
