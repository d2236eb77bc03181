// Any bytes as a safetensors file: refused, or tensors that tile the buffer.
#include <cstring>

#include "rrhf/format/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return rrhf::testing::fuzz_one(data, size, [](std::span<const std::byte> bytes) {
    const auto file = rrhf::format::parse_safetensors(bytes, "fuzz");
    const auto header = reinterpret_cast<const char*>(bytes.data()) + 8;
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    rrhf::testing::require(*header == '{', "the header begins with a brace");
    rrhf::testing::require(std::memchr(header, 0, length) == nullptr, "the header holds no NUL");
    for (const rrhf::format::SafetensorsEntry& entry : file.tensors) {
      std::size_t count = rrhf::format::safetensors_element_size(entry.dtype);
      for (const std::int64_t extent : entry.shape) count *= static_cast<std::size_t>(extent);
      rrhf::testing::require(count == entry.data.size(), "shape, dtype and bytes agree");
      rrhf::testing::touch(entry.data);
    }
  });
}
