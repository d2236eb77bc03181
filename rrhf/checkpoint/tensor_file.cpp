#include "rrhf/checkpoint/tensor_file.h"

#include <ATen/ATen.h>

#include "rrhf/checkpoint/dtypes.h"
#include "rrhf/checkpoint/mapped_tensor.h"
#include "rrhf/checkpoint/tensor_file_writer.h"
#include "rrhf/core/error.h"

namespace rrhf::checkpoint {

TensorFile::TensorFile(const std::filesystem::path& path)
    : name_(path.string()), file_(path), content_(format::parse_safetensors(file_.bytes(), name_)) {}

at::Tensor TensorFile::tensor(const format::SafetensorsEntry& entry) const {
  file_.require_whole();
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
                       at::ScalarType dtype) {
  std::vector<TensorSpec> specs;
  for (const model::NamedTensor& tensor : tensors) specs.push_back({tensor.name, dtype, tensor.view.sizes().vec()});
  TensorFileWriter writer(path, std::move(specs));
  for (const model::NamedTensor& tensor : tensors) writer.write(tensor.view);
  writer.finish();
}

}  // namespace rrhf::checkpoint
