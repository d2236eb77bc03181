#include "rrhf/checkpoint/delta_difference.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
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

// Calls work(tag, first, last) with a value of the dtype's type, over ranges of elements, on all threads.
template <class Work>
void for_elements(at::ScalarType dtype, std::int64_t count, const Work& work) {
  const auto run = [&](auto tag) {
    at::parallel_for(0, count, std::int64_t{1} << 18,
                     [&](std::int64_t first, std::int64_t last) { work(tag, first, last); });
  };
  switch (dtype) {
    case at::kHalf:
      return run(at::Half{});
    case at::kBFloat16:
      return run(at::BFloat16{});
    case at::kFloat:
      return run(float{});
    case at::kDouble:
      return run(double{});
    default:
      throw_error("delta", "tensors of type {} have no delta", at::toString(dtype));
  }
}

// Replaces the deltas whose sums miss their targets. All tensors are contiguous.
void mend(at::Tensor& delta, const at::Tensor& base, const at::Tensor& target, const at::Tensor& restored) {
  for_elements(delta.scalar_type(), delta.numel(), [&](auto tag, std::int64_t first, std::int64_t last) {
    using T = decltype(tag);
    T* const deltas = static_cast<T*>(delta.mutable_data_ptr());
    const T* const bases = static_cast<const T*>(base.const_data_ptr());
    const T* const targets = static_cast<const T*>(target.const_data_ptr());
    const T* const reached = static_cast<const T*>(restored.const_data_ptr());
    for (std::int64_t i = first; i < last; ++i) {
      if (bits_of(reached[i]) != bits_of(targets[i])) deltas[i] = best_delta<T>(bases[i], targets[i], deltas[i]);
    }
  });
}

}  // namespace

bool same_bits(const at::Tensor& a, const at::Tensor& b) { return at::equal(bits(a), bits(b)); }

Difference restoring_difference(const at::Tensor& target, const at::Tensor& base) {
  const at::Tensor plain_target = target.contiguous(), plain_base = base.contiguous();
  Difference result{.delta = at::sub(plain_target, plain_base), .restored = {}};
  result.restored = at::add(plain_base, result.delta);
  if (same_bits(result.restored, plain_target)) return result;
  mend(result.delta, plain_base, plain_target, result.restored);
  at::add_out(result.restored, plain_base, result.delta);
  return result;
}

void Rounding::Errors::add(double got, double want) {
  ++count;
  if (got == want) return;  // zeros of different sign
  // The difference of what is not finite is beyond any number.
  const double error = std::isfinite(got - want) ? std::abs(got - want) : std::numeric_limits<double>::infinity();
  absolute = std::max(absolute, error);
  relative = std::max(relative, std::isfinite(error) ? error / std::abs(want) : error);
}

void Rounding::add_block(const std::string& name, const at::Tensor& restored, const at::Tensor& target) {
  if (name != last_) ++tensors;
  last_ = name;
  elements += target.numel();
  const at::Tensor got = restored.contiguous(), want = target.contiguous();
  if (same_bits(got, want)) return;
  if (name != last_inexact_) ++inexact_tensors;
  last_inexact_ = name;
  std::mutex mutex;
  for_elements(want.scalar_type(), want.numel(), [&](auto tag, std::int64_t first, std::int64_t last) {
    using T = decltype(tag);
    const T* const gots = static_cast<const T*>(got.const_data_ptr());
    const T* const wants = static_cast<const T*>(want.const_data_ptr());
    Errors errors;
    for (std::int64_t i = first; i < last; ++i) {
      if (bits_of(gots[i]) != bits_of(wants[i]))
        errors.add(static_cast<double>(gots[i]), static_cast<double>(wants[i]));
    }
    const std::scoped_lock lock(mutex);
    inexact_elements += errors.count;
    largest_absolute = std::max(largest_absolute, errors.absolute);
    if (errors.relative <= largest_relative) return;
    largest_relative = errors.relative;
    largest_in = name;
  });
}

}  // namespace rrhf::checkpoint
