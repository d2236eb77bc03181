#include "rrhf/checkpoint/tensor_file.h"

#include <ATen/ATen.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "rrhf/checkpoint/dtypes.h"
#include "rrhf/checkpoint/mapped_tensor.h"
#include "rrhf/core/error.h"

namespace rrhf::checkpoint {

TensorFile::TensorFile(const std::filesystem::path& path)
    : name_(path.string()), file_(path), content_(format::parse_safetensors(file_.bytes(), name_)) {}

at::Tensor TensorFile::tensor(const format::SafetensorsEntry& entry) const {
  return mapped_tensor(
      {.name = entry.name, .dtype = entry.dtype, .shape = entry.shape, .strides = c10::contiguous_strides(entry.shape)},
      entry.data, name_);
}

const format::SafetensorsEntry* TensorFile::find(std::string_view name) const {
  for (const format::SafetensorsEntry& entry : content_.tensors) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

void write_tensor_file(const std::filesystem::path& path, const std::vector<model::NamedTensor>& tensors,
                       at::ScalarType dtype, const std::map<std::string, std::string>& metadata) {
  std::vector<format::SafetensorsSpec> specs;
  for (const model::NamedTensor& tensor : tensors) {
    specs.push_back({tensor.name, std::string(dtype_word(dtype)), tensor.view.sizes().vec()});
  }
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << format::safetensors_header(specs, metadata);
  for (const model::NamedTensor& tensor : tensors) {
    const at::Tensor plain = tensor.view.to(at::kCPU, dtype).contiguous();
    out.write(static_cast<const char*>(plain.const_data_ptr()), static_cast<std::streamsize>(plain.nbytes()));
  }
  out.close();
  if (!out) throw_error("checkpoint", "{}: could not be written: {}", path.string(), std::strerror(errno));
}

}  // namespace rrhf::checkpoint
