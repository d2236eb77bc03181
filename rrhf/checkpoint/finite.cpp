#include "rrhf/checkpoint/finite.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <span>

#include "rrhf/core/error.h"

namespace rrhf::checkpoint {
namespace {

// The elements' bits, as unsigned numbers, and the exponent's in them: visit(bits, exponent).
template <class Visit>
std::int64_t visit_bits(const at::Tensor& tensor, Visit visit) {
  const at::Tensor plain = tensor.contiguous();
  const auto bits = [&]<class Bits>(Bits exponent) {
    return visit(std::span(static_cast<const Bits*>(plain.const_data_ptr()), static_cast<std::size_t>(plain.numel())),
                 exponent);
  };
  switch (plain.scalar_type()) {
    case at::kHalf:
      return bits(std::uint16_t{0x7c00});
    case at::kBFloat16:
      return bits(std::uint16_t{0x7f80});
    case at::kFloat:
      return bits(std::uint32_t{0x7f800000});
    case at::kDouble:
      return bits(std::uint64_t{0x7ff0000000000000});
    default:
      throw_error("checkpoint", "tensors of type {} are not expected", at::toString(plain.scalar_type()));
  }
}

}  // namespace

// What is not finite has an exponent of ones. Nearly always nothing is found, by a loop that compilers vectorize.
std::int64_t count_not_finite(const at::Tensor& tensor) {
  return visit_bits(tensor, []<class Bits>(std::span<const Bits> bits, Bits exponent) -> std::int64_t {
    Bits any = 0;
    for (const Bits each : bits) any |= static_cast<Bits>((each & exponent) == exponent ? 1 : 0);
    return any == 0 ? 0 : std::ranges::count_if(bits, [&](Bits each) { return (each & exponent) == exponent; });
  });
}

std::int64_t count_zeros(const at::Tensor& tensor) {
  return visit_bits(tensor, []<class Bits>(std::span<const Bits> bits, Bits /*exponent*/) -> std::int64_t {
    constexpr auto all_but_sign = static_cast<Bits>(std::numeric_limits<Bits>::max() >> 1);
    return std::ranges::count_if(bits, [](Bits each) { return (each & all_but_sign) == 0; });
  });
}

}  // namespace rrhf::checkpoint
