// The JSON header of a safetensors file, read as a stream: names that stand twice are seen, and a header of a million
// names takes no more time than its length warrants. Private to this room.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::format {

/// What the header says of one tensor, not yet compared with the file.
struct SafetensorsClaim {
  std::string name;
  std::string dtype;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint64_t> offsets;  ///< two
};

struct SafetensorsHeader {
  std::vector<SafetensorsClaim> tensors;  ///< in the order of the header
  std::map<std::string, std::string> metadata;
};

/// Throws InputError for what is not JSON (or holds a NUL), does not begin with the brace of an object, lacks dtype,
/// shape or data_offsets, has one of a wrong type, or repeats a key. Unknown keys of a tensor are passed over. `where`
/// names the file in messages.
SafetensorsHeader read_safetensors_header(std::string_view text, std::string_view where);

}  // namespace rrhf::format
