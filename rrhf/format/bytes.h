// What the parsers of this room share: numbers and texts inside byte spans.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace rrhf::format {

/// The little-endian integer at an offset. The caller has checked that it lies inside.
template <class T>
T little_endian(std::span<const std::byte> bytes, std::size_t at = 0) {
  static_assert(std::is_integral_v<T>);
  static_assert(std::endian::native == std::endian::little, "files are read in place on little-endian machines");
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// The bytes as text, not copied.
inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A text of a file as messages may show it: at most 80 bytes, and nothing that a terminal would act on.
std::string shown(std::string_view text);

/// Throws InputError for bytes that stand where weights should and are known for something else: nothing at all, a Git
/// LFS pointer, a web page. `operation` and `where` begin the message.
void refuse_other_files(std::span<const std::byte> bytes, std::string_view operation, std::string_view where);

}  // namespace rrhf::format
