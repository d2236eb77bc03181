// The safetensors file format, on byte spans (https://huggingface.co/docs/safetensors: 8 bytes of header length, little
// endian; a JSON header; one buffer that the tensors fill without gap or overlap).
//
// Free of torch. Nothing is copied or allocated beyond the header, whatever the file claims.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::format {

/// One tensor of a file. `data` points into the bytes given to the parser, row-major, little endian.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;  ///< as the format spells it: "F32", "BF16", "F16", "F64", "I64", ...
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;
};

struct SafetensorsFile {
  std::vector<SafetensorsEntry> tensors;  ///< in the order of their bytes
  std::map<std::string, std::string> metadata;
};

/// Bytes of one element of a dtype, or 0 for a dtype the format does not know.
std::size_t safetensors_element_size(std::string_view dtype);

/// Reads the header and checks every claim in it. `where` names the file in messages.
/// Throws InputError for a header beyond the file, broken JSON, names that stand twice, unknown dtypes, negative or
/// overflowing shapes, offsets beyond the end, sizes that do not fit the shape, tensors that overlap, and bytes no
/// tensor covers. The result is valid while `bytes` is.
SafetensorsFile parse_safetensors(std::span<const std::byte> bytes, std::string_view where);

/// A tensor to be written: its bytes follow the header in the order given.
struct SafetensorsSpec {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
};

/// Length prefix and header for the tensors, padded with spaces to a multiple of 8 bytes.
/// Throws Error for an unknown dtype.
std::string safetensors_header(std::span<const SafetensorsSpec> tensors,
                               const std::map<std::string, std::string>& metadata);

}  // namespace rrhf::format
