// Any bytes as a file of torch.save: refused, or tensors whose every element lies in the file.
#include "rrhf/format/torch_archive.h"

#include "rrhf/format/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return rrhf::testing::fuzz_one(data, size, [](std::span<const std::byte> bytes) {
    const auto archive = rrhf::format::parse_torch_archive(bytes, "fuzz");
    for (const rrhf::format::TorchEntry& entry : archive.tensors) {
      const std::size_t element = rrhf::format::safetensors_element_size(entry.dtype);
      const auto storage = archive.storages.at(entry.storage).data;
      const auto end = static_cast<std::size_t>(entry.offset + entry.extent()) * element;
      rrhf::testing::require(element > 0 && end <= storage.size(), "the tensor lies in its storage");
      rrhf::testing::require(static_cast<std::size_t>(entry.numel()) * element <= storage.size(),
                             "the tensor is no larger than its storage");
      rrhf::testing::touch(storage.first(end));
    }
  });
}
