// Help for a mistyped word.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace rrhf {

/// The least number of letters to insert, remove, replace or swap with their neighbour to make one text of the other.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The word that takes the fewest such changes: the first of them. `words` must not be empty.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> words);

}  // namespace rrhf
