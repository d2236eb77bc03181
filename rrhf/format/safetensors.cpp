#include "rrhf/format/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/json.h"
#include "rrhf/format/bytes.h"
#include "rrhf/format/safetensors_header.h"

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
constexpr std::size_t most_tensor_dimensions = 64;

// The tensor's size in bytes. A product that overflows can't fit any file, even where another extent is 0: strides are
// such products.
std::uint64_t byte_size(const SafetensorsEntry& entry, std::string_view where) {
  std::uint64_t size = safetensors_element_size(entry.dtype);
  if (size == 0)
    throw_input("safetensors", "{}: {}: dtype {} is not known", where, shown(entry.name), shown(entry.dtype));
  bool empty = false;
  for (const std::int64_t extent : entry.shape) {
    empty = empty || extent == 0;
    if (extent != 0 && __builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size)) {
      throw_input("safetensors", "{}: {}: the shape overflows", where, shown(entry.name));
    }
  }
  return empty ? 0 : size;
}

SafetensorsEntry checked_entry(const SafetensorsClaim& claim, std::span<const std::byte> buffer,
                               std::string_view where) {
  const std::string name = shown(claim.name);
  SafetensorsEntry entry{.name = claim.name, .dtype = claim.dtype, .shape = {}, .data = {}};
  for (const std::uint64_t extent : claim.shape) {
    if (extent > std::numeric_limits<std::int64_t>::max()) {
      throw_input("safetensors", "{}: {}: the shape overflows", where, name);
    }
    entry.shape.push_back(static_cast<std::int64_t>(extent));
  }
  if (claim.shape.size() > most_tensor_dimensions) {
    throw_input("safetensors", "{}: {}: {} dimensions", where, name, claim.shape.size());
  }
  if (claim.offsets.size() != 2) throw_input("safetensors", "{}: {}: needs two data_offsets", where, name);
  const std::uint64_t begin = claim.offsets[0], end = claim.offsets[1];
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
      throw_input("safetensors", "{}: {}: overlaps another tensor or leaves a gap before it", where, shown(entry.name));
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
  refuse_other_files(bytes, "safetensors", where);
  if (bytes.size() < prefix_bytes) {
    throw_input("safetensors", "{}: {} bytes are no safetensors file", where, bytes.size());
  }
  const auto header_bytes = little_endian<std::uint64_t>(bytes);
  if (header_bytes > bytes.size() - prefix_bytes || header_bytes > longest_header) {
    throw_input("safetensors", "{}: claims a header of {} bytes in a file of {}: not a safetensors file, or truncated",
                where, header_bytes, bytes.size());
  }
  SafetensorsHeader header = read_safetensors_header(text_of(bytes.subspan(prefix_bytes, header_bytes)), where);
  const auto buffer = bytes.subspan(prefix_bytes + header_bytes);
  SafetensorsFile file{.tensors = {}, .metadata = std::move(header.metadata)};
  for (const SafetensorsClaim& claim : header.tensors) file.tensors.push_back(checked_entry(claim, buffer, where));
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
