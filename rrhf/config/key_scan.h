// Where the keys of a config text stand, which the JSON library does not tell.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::config {

/// A key of an object, named by its path ("data.train").
struct KeyPlace {
  std::string path;
  std::size_t line = 0;  ///< from 1
};

/// The keys of a text in their order, one entry for each time a key is given. Keys inside arrays are left out.
/// The text must be valid JSON, comments allowed.
std::vector<KeyPlace> scan_keys(std::string_view text);

/// True when the text holds nothing but white space and comments.
bool is_blank(std::string_view text);

}  // namespace rrhf::config
