// A tensor over bytes of a mapped file.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

namespace rrhf::checkpoint {

struct MappedLayout {
  std::string_view name;   ///< of the tensor, for messages
  std::string_view dtype;  ///< as safetensors spells it
  at::IntArrayRef shape;
  at::IntArrayRef strides;  ///< in elements
};

/// A tensor whose first element is the first of `bytes`, sharing them; where they do not lie on a multiple of the
/// element's size, as in files of other writers, a copy. `where` names the file in messages.
/// Throws InputError for a dtype other than F32, F16, BF16, F64.
at::Tensor mapped_tensor(const MappedLayout& layout, std::span<const std::byte> bytes, std::string_view where);

/// Copies the elements from number `begin` on, in row-major order, of a mapped tensor into `values` (flat, any dtype
/// and device). `release` gives the tensor's pages back: it is called after each piece, so that no large tensor stands
/// in memory twice.
void copy_range(const at::Tensor& mapped, std::int64_t begin, const at::Tensor& values,
                const std::function<void()>& release);

}  // namespace rrhf::checkpoint
