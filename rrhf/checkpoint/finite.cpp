#include "rrhf/checkpoint/finite.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/core/error.h"

namespace rrhf::checkpoint {
namespace {

// What is not finite has an exponent of ones. Nearly always nothing is found, by a loop that compilers vectorize.
template <class Bits>
std::int64_t count(const at::Tensor& contiguous, Bits exponent) {
  const auto* const bits = static_cast<const Bits*>(contiguous.const_data_ptr());
  const std::int64_t size = contiguous.numel();
  Bits any = 0;
  for (std::int64_t i = 0; i < size; ++i) any |= static_cast<Bits>((bits[i] & exponent) == exponent ? 1 : 0);
  if (any == 0) return 0;
  return std::count_if(bits, bits + size, [&](Bits each) { return (each & exponent) == exponent; });
}

}  // namespace

std::int64_t count_not_finite(const at::Tensor& tensor) {
  const at::Tensor plain = tensor.contiguous();
  switch (plain.scalar_type()) {
    case at::kHalf:
      return count<std::uint16_t>(plain, 0x7c00);
    case at::kBFloat16:
      return count<std::uint16_t>(plain, 0x7f80);
    case at::kFloat:
      return count<std::uint32_t>(plain, 0x7f800000);
    case at::kDouble:
      return count<std::uint64_t>(plain, 0x7ff0000000000000);
    default:
      throw_error("checkpoint", "tensors of type {} are not expected", at::toString(plain.scalar_type()));
  }
}

}  // namespace rrhf::checkpoint
