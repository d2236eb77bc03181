// How token_rows.h's bytes lie, for its writer and its reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace rrhf::data {

inline constexpr std::string_view token_magic = "rrhfTOK1";
inline constexpr std::size_t token_key_size = 64;
inline constexpr std::size_t token_head_size = 8 + token_key_size + 8;
inline constexpr std::size_t token_tail_size = 8 + 8 + 64;

/// What the index says of a row.
struct TokenEntry {
  std::uint64_t end = 0;        ///< its bytes reach from the end of the row before it to this
  std::uint32_t responses = 0;  ///< 0: skipped
  std::uint32_t prompt = 0;
  std::uint32_t packed = 0;
  std::uint32_t padded = 0;
};
static_assert(sizeof(TokenEntry) == 24);

/// Bytes of a skipped row before its text.
inline constexpr std::size_t skipped_head_size = 24;

template <class T>
void append_value(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// The value at the start of `bytes`, which must hold it; unaligned.
template <class T>
T value_at(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace rrhf::data
