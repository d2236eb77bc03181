#include "rrhf/checkpoint/torch_file.h"

#include "rrhf/checkpoint/mapped_tensor.h"
#include "rrhf/format/safetensors.h"

namespace rrhf::checkpoint {
namespace {

// The bytes of a storage from the first that a tensor touches to the last.
std::span<const std::byte> touched(const format::TorchArchive& archive, const format::TorchEntry& entry) {
  const std::size_t element = format::safetensors_element_size(entry.dtype);
  return archive.storages[entry.storage].data.subspan(static_cast<std::size_t>(entry.offset) * element,
                                                      static_cast<std::size_t>(entry.extent()) * element);
}

}  // namespace

TorchFile::TorchFile(const std::filesystem::path& path)
    : name_(path.string()),
      file_(path),
      archive_(format::parse_torch_archive(file_.bytes(), name_)),
      verified_(std::make_unique<std::atomic<bool>[]>(archive_.storages.size())) {}

at::Tensor TorchFile::tensor(const format::TorchEntry& entry) const {
  file_.require_whole();
  verify(entry);
  return mapped_tensor({.name = entry.name, .dtype = entry.dtype, .shape = entry.shape, .strides = entry.strides},
                       touched(archive_, entry), name_);
}

// Two threads that come at once check it twice, which is harmless.
void TorchFile::verify(const format::TorchEntry& entry) const {
  if (!archive_.has_checksums || verified_[entry.storage].load(std::memory_order_relaxed)) return;
  const format::ZipMember& storage = archive_.storages[entry.storage];
  // What other tensors share need not stay resident for the sake of this one: a whole model may be one storage.
  const bool shared = touched(archive_, entry).size() < storage.data.size();
  format::verify_member(storage, name_, [&](std::span<const std::byte> piece) {
    if (shared) file_.release(piece);
  });
  verified_[entry.storage].store(true, std::memory_order_relaxed);
}

void TorchFile::release(const format::TorchEntry& entry) const noexcept { file_.release(touched(archive_, entry)); }

}  // namespace rrhf::checkpoint
