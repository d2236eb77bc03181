// exp() as a loop the compiler vectorizes. Part of cpu_kernels_impl.h.
#pragma once

#include <cstdint>

namespace rrhf::model::cpu::RRHF_ISA {
namespace {

template <class T>
struct Exponential;

// exp(x) = 2^n exp(r), |r| <= ln(2)/2, by Taylor's series: the first term left out is below half a unit in the last
// place. x is clamped so that 2^n is a normal number. Adding `magic` rounds to the nearest integer, which then stands
// in the low bits. A NaN stays one.
template <>
struct Exponential<float> {
  using Bits = std::int32_t;
  static constexpr float least = -87.0f, most = 88.0f;
  static constexpr float log2e = 1.44269504088896341f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr int mantissa_bits = 23;
  static inline float series(float r) {
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    return p * r + 1.0f;
  }
};

template <>
struct Exponential<double> {
  using Bits = std::int64_t;
  static constexpr double least = -708.0, most = 709.0;
  static constexpr double log2e = 1.4426950408889634074, ln2_high = 0.693145751953125,
                          ln2_low = 1.42860682030941723212e-6;
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int mantissa_bits = 52;
  static inline double series(double r) {
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    return p * r + 1.0;
  }
};

template <class T>
inline T exponential(T x) {
  using E = Exponential<T>;
  using Bits = typename E::Bits;
  x = x < E::least ? E::least : x;
  x = x > E::most ? E::most : x;
  const T shifted = x * E::log2e + E::magic;
  const T n = shifted - E::magic;
  const T r = (x - n * E::ln2_high) - n * E::ln2_low;
  const Bits power = __builtin_bit_cast(Bits, shifted) << E::mantissa_bits;
  return __builtin_bit_cast(T, __builtin_bit_cast(Bits, E::series(r)) + power);
}

}  // namespace
}  // namespace rrhf::model::cpu::RRHF_ISA
