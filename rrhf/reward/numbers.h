// Numbers and sums as people write them: "1,234.5", "minus three", "twenty-one", "four plus nine", "(2 + 3) * 4".
#pragma once

#include <optional>
#include <string_view>

namespace rrhf::reward {

/// The number that `text` is as a whole: digits with or without thousands commas, a sign and a fraction, or words up to
/// ninety-nine. White space around it is passed over; letters may be of either case.
std::optional<double> number_in(std::string_view text);

/// The last number in a text of any kind: digits anywhere, number words as whole words.
std::optional<double> last_number(std::string_view text);

/// The value of the longest expression in a text with at least one operation: + - * / ( ), also as plus, minus, times,
/// multiplied by, divided by, over, and the signs x, ×, ÷, −. The first of equally long ones. Nothing where there is
/// none, it divides by zero, or it nests deeper than 64 levels.
std::optional<double> expression_in(std::string_view text);

}  // namespace rrhf::reward
