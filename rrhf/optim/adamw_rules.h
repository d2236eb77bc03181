// AdamW's arithmetic an element, and the narrow forms that weights and moments are kept in: the same on CPU and GPU.
//
// A bfloat16 or 8-bit number is rounded at random, up or down by where it lies between its two neighbours, so that what
// is lost at one step is not lost on average: rounded to the nearest, a second moment would stand still, since it
// changes by a thousandth a step and bfloat16 has 8 bits. The random numbers depend on the seed, the step and the
// element alone.
//
// 8 bits: blocks of 256 elements share a float32 scale, their largest magnitude, and an element is kept as its share of
// it, with 3 bits after the leading one: first moments with a sign and 15 powers of two, second moments, which are
// never negative, with 31. (The same room as the 8-bit optimizers of Dettmers et al. 2022, which look codes up in a
// table.)
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define RRHF_CPU_AND_GPU __host__ __device__
#else
// The same function is compiled for several instruction sets: none of them may stand for all.
#define RRHF_CPU_AND_GPU [[gnu::always_inline]]
#endif

namespace rrhf::optim {

/// What one step does to every element.
struct AdamWRule {
  float keep;          ///< 1 - learning rate * weight decay
  float rate;          ///< learning rate / (1 - beta1^t)
  float first_share;   ///< 1 - beta1
  float second_keep;   ///< beta2
  float second_share;  ///< 1 - beta2
  float root_scale;    ///< 1 / sqrt(1 - beta2^t)
  float epsilon;
  float gradient_factor;  ///< of clipping
  float most;             ///< |step| that exact moments can give: beyond it is what 8 bits lost
  std::uint64_t key;      ///< of the random numbers: seed, step and tensor
};

struct AdamWMoments {
  float first;
  float second;
};

/// The weight after the step, before it is rounded; the moments are moved on.
RRHF_CPU_AND_GPU inline float adamw(const AdamWRule& rule, float weight, float gradient, AdamWMoments& moments) {
  gradient *= rule.gradient_factor;
  moments.first += rule.first_share * (gradient - moments.first);
  moments.second = rule.second_keep * moments.second + rule.second_share * gradient * gradient;
  float step = moments.first / (sqrtf(moments.second) * rule.root_scale + rule.epsilon);
  step = step < -rule.most ? -rule.most : step;
  step = step > rule.most ? rule.most : step;
  return weight * rule.keep - rule.rate * step;
}

/// 32 random bits of a number: Wellons' lowbias32 (hash-prospector), whose bits are as good as independent and which a
/// GPU computes in a few instructions.
RRHF_CPU_AND_GPU inline std::uint32_t mixed(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

/// Random bits of an element, 20 for each of the three numbers that may be rounded.
struct Dice {
  std::uint32_t weight = 0, first = 0, second = 0;
};

/// Those of the element whose number has these two halves.
RRHF_CPU_AND_GPU inline Dice dice_of(std::uint64_t key, std::uint32_t high, std::uint32_t low) {
  const std::uint32_t once = mixed(low ^ static_cast<std::uint32_t>(key)) + high;
  const std::uint32_t upper = mixed(once ^ static_cast<std::uint32_t>(key >> 32));
  const std::uint32_t lower = mixed(upper + 0x9e3779b9U);
  return {lower & 0xfffffU, lower >> 20 | (upper & 0xffU) << 12, upper >> 8 & 0xfffffU};
}
RRHF_CPU_AND_GPU inline Dice dice_of(std::uint64_t key, std::int64_t element) {
  return dice_of(key, static_cast<std::uint32_t>(element >> 32), static_cast<std::uint32_t>(element));
}

RRHF_CPU_AND_GPU inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
RRHF_CPU_AND_GPU inline float float_of(std::uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/// A bfloat16 by its bits.
RRHF_CPU_AND_GPU inline float from_bfloat16(std::uint16_t bits) {
  return float_of(static_cast<std::uint32_t>(bits) << 16);
}

/// x rounded at random; `dice` is of 20 bits. What is a bfloat16 already stays as it is, and so do infinity and NaN.
RRHF_CPU_AND_GPU inline std::uint16_t to_bfloat16(float x, std::uint32_t dice) {
  const std::uint32_t bits = bits_of(x), noise = (bits & 0x7f800000U) == 0x7f800000U ? 0 : dice >> 4;
  return static_cast<std::uint16_t>((bits + noise) >> 16);
}

/// Elements that share the scales of their 8-bit moments.
constexpr std::int64_t moment_block = 256;
/// A block whose largest magnitude is below this is kept as zeros.
constexpr float least_scale = 1e-30F;

namespace detail {

constexpr std::uint32_t dropped_bits = 20;  // of float32's 23 after the leading one

// The code of a share in [0, 1]: 0, or one more than the number of steps of an eighth of a power of two, from
// 2^-powers on.
RRHF_CPU_AND_GPU inline std::uint32_t code_of(float share, std::uint32_t powers, std::uint32_t dice) {
  // Dice are never 0: a share of a float32's last place below an exact one, as dividing by the scale gives, is that
  // one.
  const std::uint32_t least = (127 - powers) << 3, code = (bits_of(share) + (dice | 1U)) >> dropped_bits;
  return code < least ? 0 : code - least + 1;
}
RRHF_CPU_AND_GPU inline float share_of(std::uint32_t code, std::uint32_t powers) {
  return code == 0 ? 0.0F : float_of((code - 1 + ((127 - powers) << 3)) << dropped_bits);
}

constexpr std::uint32_t first_powers = 15, second_powers = 31;

}  // namespace detail

/// First moments as shares of their block's scale, in [-1, 1]. Below 2^-15 one becomes 0, or 2^-15 as often as makes it
/// right on average.
RRHF_CPU_AND_GPU inline std::uint8_t to_first_code(float share, std::uint32_t dice) {
  constexpr float least = 1.0F / (1U << detail::first_powers), rolls = 1U << detail::dropped_bits;
  const float magnitude = fabsf(share);
  const std::uint32_t tiny = magnitude / least * rolls > static_cast<float>(dice) ? 1 : 0;
  const std::uint32_t code = magnitude >= least ? detail::code_of(magnitude, detail::first_powers, dice) : tiny;
  return static_cast<std::uint8_t>(code | (share < 0 && code != 0 ? 0x80U : 0U));
}
RRHF_CPU_AND_GPU inline float from_first_code(std::uint8_t code) {
  const float share = detail::share_of(code & 0x7fU, detail::first_powers);
  return (code & 0x80U) != 0 ? -share : share;
}

/// Second moments, in [0, 1]. One that is not 0 does not become 0, since it is divided by.
RRHF_CPU_AND_GPU inline std::uint8_t to_second_code(float share, std::uint32_t dice) {
  const std::uint32_t code = detail::code_of(share, detail::second_powers, dice);
  return static_cast<std::uint8_t>(code == 0 && share > 0 ? 1 : code);
}
RRHF_CPU_AND_GPU inline float from_second_code(std::uint8_t code) {
  return detail::share_of(code, detail::second_powers);
}

}  // namespace rrhf::optim
