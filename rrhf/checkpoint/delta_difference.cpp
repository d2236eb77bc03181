#include "rrhf/checkpoint/delta_difference.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "rrhf/core/error.h"

namespace rrhf::checkpoint {
namespace {

at::ScalarType integer_of_size(std::size_t bytes) {
  return bytes == 2 ? at::kShort : bytes == 4 ? at::kInt : at::kLong;
}

at::Tensor bits(const at::Tensor& x) { return x.contiguous().view(integer_of_size(x.element_size())); }

template <class T>
using Bits =
    std::conditional_t<sizeof(T) == 2, std::int16_t, std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>>;

template <class T>
Bits<T> bits_of(T x) {
  return std::bit_cast<Bits<T>>(x);
}

// The floating number `steps` places up or down the number line. Below zero the bits count backwards.
template <class T>
T moved(T x, int steps) {
  constexpr Bits<T> sign = std::numeric_limits<Bits<T>>::min();
  const Bits<T> place = bits_of(x) < 0 ? static_cast<Bits<T>>(sign - bits_of(x)) : bits_of(x);
  const auto there = static_cast<Bits<T>>(place + steps);
  return std::bit_cast<T>(there < 0 ? static_cast<Bits<T>>(sign - there) : there);
}

// As ATen adds: half precision in float32, rounded once.
template <class T>
T sum(T a, T b) {
  if constexpr (sizeof(T) == 2) {
    return static_cast<T>(static_cast<float>(a) + static_cast<float>(b));
  } else {
    return a + b;
  }
}

// The delta near `first` whose sum with the base is the target, or nearest to it.
template <class T>
T best_delta(T base, T target, T first) {
  if (!std::isfinite(static_cast<double>(first))) return first;
  const auto miss = [&](T delta) {
    const T reached = sum(base, delta);
    return bits_of(reached) == bits_of(target) ? -1.0
                                               : std::abs(static_cast<double>(reached) - static_cast<double>(target));
  };
  T best = first;
  double least = miss(first);
  for (const T other : {moved(first, 1), moved(first, -1), moved(first, 2), moved(first, -2), static_cast<T>(-0.0F)}) {
    if (const double found = miss(other); found < least) {
      best = other;
      least = found;
    }
  }
  return best;
}

template <class T>
void mend(at::Tensor& delta, const at::Tensor& base, const at::Tensor& target, const at::Tensor& wrong) {
  const at::Tensor plain_base = base.contiguous(), plain_target = target.contiguous(), at = wrong.flatten().nonzero();
  T* const deltas = static_cast<T*>(delta.mutable_data_ptr());
  const T* const bases = static_cast<const T*>(plain_base.const_data_ptr());
  const T* const targets = static_cast<const T*>(plain_target.const_data_ptr());
  const std::int64_t* const places = at.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < at.numel(); ++i) {
    deltas[places[i]] = best_delta<T>(bases[places[i]], targets[places[i]], deltas[places[i]]);
  }
}

void mend(at::Tensor& delta, const at::Tensor& base, const at::Tensor& target, const at::Tensor& wrong) {
  switch (delta.scalar_type()) {
    case at::kHalf:
      return mend<at::Half>(delta, base, target, wrong);
    case at::kBFloat16:
      return mend<at::BFloat16>(delta, base, target, wrong);
    case at::kFloat:
      return mend<float>(delta, base, target, wrong);
    case at::kDouble:
      return mend<double>(delta, base, target, wrong);
    default:
      throw_error("delta", "tensors of type {} have no delta", at::toString(delta.scalar_type()));
  }
}

}  // namespace

bool same_bits(const at::Tensor& a, const at::Tensor& b) { return at::equal(bits(a), bits(b)); }

Difference restoring_difference(const at::Tensor& target, const at::Tensor& base) {
  Difference result{.delta = at::sub(target, base).contiguous(), .restored = {}};
  result.restored = at::add(base, result.delta);
  if (same_bits(result.restored, target)) return result;
  mend(result.delta, base, target, bits(result.restored).ne(bits(target)));
  at::add_out(result.restored, base, result.delta);
  return result;
}

void Rounding::add_block(const std::string& name, const at::Tensor& restored, const at::Tensor& target) {
  if (name != last_) ++tensors;
  last_ = name;
  elements += target.numel();
  if (same_bits(restored, target)) return;
  const at::Tensor wrong = bits(restored).ne(bits(target));
  inexact_elements += wrong.sum().item<std::int64_t>();
  if (name != last_inexact_) ++inexact_tensors;
  last_inexact_ = name;
  const at::Tensor got = restored.contiguous().masked_select(wrong).to(at::kDouble);
  const at::Tensor want = target.contiguous().masked_select(wrong).to(at::kDouble);
  // Zeros of different sign differ by nothing; NaN, as the difference of what is not finite, is beyond any number.
  const at::Tensor relative = at::where(got == want, 0.0, (got - want).abs() / want.abs());
  const double largest =
      at::nan_to_num(relative, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity())
          .max()
          .item<double>();
  if (largest <= largest_relative) return;
  largest_relative = largest;
  largest_in = name;
}

}  // namespace rrhf::checkpoint
