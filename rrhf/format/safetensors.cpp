#include "rrhf/format/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/json.h"

namespace rrhf::format {
namespace {

constexpr std::array element_sizes{
    std::pair{"BOOL", 1}, std::pair{"U8", 1},  std::pair{"I8", 1},  std::pair{"F8_E4M3", 1}, std::pair{"F8_E5M2", 1},
    std::pair{"I16", 2},  std::pair{"U16", 2}, std::pair{"F16", 2}, std::pair{"BF16", 2},    std::pair{"I32", 4},
    std::pair{"U32", 4},  std::pair{"F32", 4}, std::pair{"F64", 8}, std::pair{"I64", 8},     std::pair{"U64", 8},
};

constexpr std::size_t prefix_bytes = 8;
// The reference implementation's own limit.
constexpr std::uint64_t longest_header = 100'000'000;

std::uint64_t little_endian(std::span<const std::byte> bytes) {
  static_assert(std::endian::native == std::endian::little, "safetensors are read in place on little-endian machines");
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// A count that is there, whole and not negative.
std::uint64_t count_at(const Json& value, std::string_view where, std::string_view name, std::string_view what) {
  if (!value.is_number_unsigned()) {
    throw_input("safetensors", "{}: {}: {} must be a whole number from 0, is {}", where, name, what, describe(value));
  }
  return value.get<std::uint64_t>();
}

// The tensor's size in bytes; a product that overflows can't fit any file.
std::uint64_t byte_size(const SafetensorsEntry& entry, std::string_view where) {
  std::uint64_t size = safetensors_element_size(entry.dtype);
  if (size == 0) throw_input("safetensors", "{}: {}: dtype {} is not known", where, entry.name, entry.dtype);
  for (const std::int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size)) {
      throw_input("safetensors", "{}: {}: the shape overflows", where, entry.name);
    }
  }
  return size;
}

SafetensorsEntry parse_entry(const std::string& name, const Json& value, std::span<const std::byte> buffer,
                             std::string_view where) {
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") || !value.contains("data_offsets")) {
    throw_input("safetensors", "{}: {}: needs dtype, shape and data_offsets", where, name);
  }
  const Json &dtype = value["dtype"], &shape = value["shape"], &offsets = value["data_offsets"];
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2) {
    throw_input("safetensors", "{}: {}: dtype, shape or data_offsets has the wrong type", where, name);
  }
  SafetensorsEntry entry{.name = name, .dtype = dtype.get<std::string>(), .shape = {}, .data = {}};
  for (const Json& extent : shape) {
    const std::uint64_t count = count_at(extent, where, name, "an extent of the shape");
    if (count > std::numeric_limits<std::int64_t>::max())
      throw_input("safetensors", "{}: {}: the shape overflows", where, name);
    entry.shape.push_back(static_cast<std::int64_t>(count));
  }
  const std::uint64_t begin = count_at(offsets[0], where, name, "a data offset");
  const std::uint64_t end = count_at(offsets[1], where, name, "a data offset");
  if (begin > end || end > buffer.size()) {
    throw_input("safetensors", "{}: {}: bytes {} to {} lie outside the buffer of {}: the file is truncated or broken",
                where, name, begin, end, buffer.size());
  }
  if (const std::uint64_t size = byte_size(entry, where); size != end - begin) {
    throw_input("safetensors", "{}: {}: shape and dtype need {} bytes, the offsets give {}", where, name, size,
                end - begin);
  }
  entry.data = buffer.subspan(begin, end - begin);
  return entry;
}

// The tensors must tile the buffer: what overlaps or lies between could hide anything.
void require_tiling(const std::vector<SafetensorsEntry>& tensors, std::span<const std::byte> buffer,
                    std::string_view where) {
  const std::byte* at = buffer.data();
  for (const SafetensorsEntry& entry : tensors) {
    if (entry.data.data() != at) {
      throw_input("safetensors", "{}: {}: overlaps another tensor or leaves a gap before it", where, entry.name);
    }
    at += entry.data.size();
  }
  if (const auto rest = buffer.data() + buffer.size() - at; rest != 0) {
    throw_input("safetensors", "{}: the last {} bytes belong to no tensor", where, rest);
  }
}

}  // namespace

std::size_t safetensors_element_size(std::string_view dtype) {
  for (const auto& [name, size] : element_sizes) {
    if (dtype == name) return static_cast<std::size_t>(size);
  }
  return 0;
}

SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, std::string_view where) {
  if (bytes.size() < prefix_bytes) {
    throw_input("safetensors", "{}: {} bytes are no safetensors file", where, bytes.size());
  }
  const std::uint64_t header_bytes = little_endian(bytes);
  if (header_bytes > bytes.size() - prefix_bytes || header_bytes > longest_header) {
    throw_input("safetensors", "{}: claims a header of {} bytes in a file of {}: not a safetensors file, or truncated",
                where, header_bytes, bytes.size());
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + prefix_bytes, header_bytes);
  const Json json = parse_json(header, "safetensors", where);
  if (!json.is_object()) throw_input("safetensors", "{}: the header is {}, not an object", where, describe(json));

  SafetensorsFile file;
  const auto buffer = bytes.subspan(prefix_bytes + header_bytes);
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      file.tensors.push_back(parse_entry(name, value, buffer, where));
      continue;
    }
    for (const auto& [key, text] : value.items()) {
      if (text.is_string()) file.metadata[key] = text.get<std::string>();
    }
  }
  std::ranges::stable_sort(file.tensors, [](const auto& a, const auto& b) {
    return std::pair(a.data.data(), a.data.size()) < std::pair(b.data.data(), b.data.size());
  });
  require_tiling(file.tensors, buffer, where);
  return file;
}

std::string safetensors_header(std::span<const SafetensorsSpec> tensors,
                               const std::map<std::string, std::string>& metadata) {
  Json json = Json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const SafetensorsSpec& tensor : tensors) {
    const std::size_t element = safetensors_element_size(tensor.dtype);
    if (element == 0) throw_error("safetensors", "{}: dtype {} is not known", tensor.name, tensor.dtype);
    std::uint64_t size = element;
    for (const std::int64_t extent : tensor.shape) size *= static_cast<std::uint64_t>(extent);
    json[tensor.name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  std::string text = dump_json(json);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::string prefix(prefix_bytes, '\0');
  std::memcpy(prefix.data(), &length, prefix_bytes);
  return prefix + text;
}

}  // namespace rrhf::format
