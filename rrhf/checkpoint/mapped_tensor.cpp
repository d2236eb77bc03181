#include "rrhf/checkpoint/mapped_tensor.h"

#include <ATen/ATen.h>

#include <algorithm>
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

void copy_range(const at::Tensor& mapped, std::int64_t begin, const at::Tensor& values,
                const std::function<void()>& release) {
  constexpr std::int64_t piece = std::int64_t{1} << 20;  // elements
  if (!mapped.is_contiguous() && values.numel() == mapped.numel()) {
    values.view(mapped.sizes()).copy_(mapped);  // without a flat copy between
    return release();
  }
  const at::Tensor flat = mapped.reshape({-1});
  for (std::int64_t first = 0; first < values.numel(); first += piece) {
    const std::int64_t count = std::min(piece, values.numel() - first);
    values.narrow(0, first, count).copy_(flat.narrow(0, begin + first, count));
    release();
  }
}

}  // namespace rrhf::checkpoint
