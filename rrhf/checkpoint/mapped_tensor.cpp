#include "rrhf/checkpoint/mapped_tensor.h"

#include <ATen/ATen.h>

#include <cstring>

#include "rrhf/checkpoint/dtypes.h"
#include "rrhf/core/error.h"

namespace rrhf::checkpoint {

at::Tensor mapped_tensor(const MappedLayout& layout, std::span<const std::byte> bytes, std::string_view where) {
  const auto dtype = float_dtype(layout.dtype);
  if (!dtype) {
    throw_input("checkpoint", "{}: {} has dtype {}; float tensors are needed: F32, F16, BF16, F64", where, layout.name,
                layout.dtype);
  }
  const auto options = at::TensorOptions().dtype(*dtype);
  const std::size_t element = at::elementSize(*dtype);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % element == 0) {
    // Read-only by agreement: at::Tensor has no word for it.
    return at::from_blob(const_cast<std::byte*>(bytes.data()), layout.shape, layout.strides, options);
  }
  const at::Tensor copy = at::empty({static_cast<std::int64_t>(bytes.size() / element)}, options);
  if (!bytes.empty()) std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
  return copy.as_strided(layout.shape, layout.strides);
}

}  // namespace rrhf::checkpoint
