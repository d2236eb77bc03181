// Numbers, settings and escapes as tables and pages show them.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/json.h"

namespace rrhf::report {

/// Four significant digits, zeros included ("6.000"); "-" for nothing.
std::string figure(std::optional<double> value);

/// So many decimals; "-" for nothing and for what is not finite.
std::string fixed(std::optional<double> value, int decimals);

/// A share as "63.1 %", "-" for nothing.
std::string percent(std::optional<double> value);

/// The text at a path in a config, "-" when it has none.
std::string setting(const Json& config, std::initializer_list<std::string_view> path);

using TableLine = std::vector<std::string>;

/// The widest cell of each column, for lines of equally many.
std::vector<std::size_t> column_widths(std::span<const TableLine> lines);

/// Such lines in columns, two characters apart: the first `words` of them stand on the left, numbers on the right.
std::string in_columns(std::span<const TableLine> lines, std::size_t words);

/// The lines behind two of headings, which keep columns narrow: a heading breaks at its '\n', one without stands on the
/// second line.
std::vector<TableLine> under_headings(const TableLine& headings, std::vector<TableLine> lines);

/// Text for use in HTML, in content and in attributes between double quotes.
std::string escape(std::string_view text);

}  // namespace rrhf::report
