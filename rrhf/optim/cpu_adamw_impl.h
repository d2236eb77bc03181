// The loops of cpu_adamw.h. Included by one source file for each instruction set, which sets RRHF_ISA to its name, also
// that of the namespace. Nothing from the standard library is called: an inline function compiled here for one
// instruction set could be merged with its namesake elsewhere and run on a machine that lacks it.

#include "rrhf/optim/cpu_adamw.h"

namespace rrhf::optim::cpu::RRHF_ISA {
namespace {

using I = std::int64_t;  // of elements

// A block's numbers, of which the first `count` are set: the last block may be shorter.
struct Block {
  alignas(64) float values[moment_block];
};
struct BlockDice {
  alignas(64) std::uint32_t weight[moment_block], first[moment_block], second[moment_block];
};

template <Stored Type>
void read(const void* from, I begin, I count, Block& to) {
  if constexpr (Type == Stored::float32) {
    const auto* at = static_cast<const float*>(from) + begin;
#pragma omp simd
    for (I i = 0; i < count; ++i) to.values[i] = at[i];
  } else {
    const auto* at = static_cast<const std::uint16_t*>(from) + begin;
#pragma omp simd
    for (I i = 0; i < count; ++i) to.values[i] = from_bfloat16(at[i]);
  }
}

template <Stored Type>
void write(const Block& from, const std::uint32_t* dice, I begin, I count, void* to) {
  if constexpr (Type == Stored::float32) {
    auto* at = static_cast<float*>(to) + begin;
#pragma omp simd
    for (I i = 0; i < count; ++i) at[i] = from.values[i];
  } else {
    auto* at = static_cast<std::uint16_t*>(to) + begin;
#pragma omp simd
    for (I i = 0; i < count; ++i) at[i] = to_bfloat16(from.values[i], dice[i]);
  }
}

template <Stored Type>
void read_moments(const AdamWTensors& t, I begin, I count, Block& first, Block& second) {
  if constexpr (Type == Stored::eight_bit) {
    const float first_scale = t.first_scales[begin / moment_block],
                second_scale = t.second_scales[begin / moment_block];
    const auto *first_codes = static_cast<const std::uint8_t*>(t.first) + begin,
               *second_codes = static_cast<const std::uint8_t*>(t.second) + begin;
#pragma omp simd
    for (I i = 0; i < count; ++i) first.values[i] = from_first_code(first_codes[i]) * first_scale;
#pragma omp simd
    for (I i = 0; i < count; ++i) second.values[i] = from_second_code(second_codes[i]) * second_scale;
  } else {
    read<Type>(t.first, begin, count, first);
    read<Type>(t.second, begin, count, second);
  }
}

inline float scale_of(const Block& block, I count) {
  float most = 0;
#pragma omp simd reduction(max : most)
  for (I i = 0; i < count; ++i) {
    const float magnitude = __builtin_fabsf(block.values[i]);
    most = magnitude > most ? magnitude : most;
  }
  return most < least_scale ? 0 : most;
}

template <Stored Type>
void write_moments(const Block& first, const Block& second, const BlockDice& dice, I begin, I count,
                   const AdamWTensors& t) {
  if constexpr (Type == Stored::eight_bit) {
    const float first_scale = scale_of(first, count), second_scale = scale_of(second, count);
    t.first_scales[begin / moment_block] = first_scale;
    t.second_scales[begin / moment_block] = second_scale;
    const float first_inverse = first_scale > 0 ? 1 / first_scale : 0;
    const float second_inverse = second_scale > 0 ? 1 / second_scale : 0;
    auto *first_codes = static_cast<std::uint8_t*>(t.first) + begin,
         *second_codes = static_cast<std::uint8_t*>(t.second) + begin;
#pragma omp simd
    for (I i = 0; i < count; ++i) first_codes[i] = to_first_code(first.values[i] * first_inverse, dice.first[i]);
#pragma omp simd
    for (I i = 0; i < count; ++i) second_codes[i] = to_second_code(second.values[i] * second_inverse, dice.second[i]);
  } else {
    write<Type>(first, dice.first, begin, count, t.first);
    write<Type>(second, dice.second, begin, count, t.second);
  }
}

// The element's number is taken in halves, so that all of it is arithmetic of 32 bits.
inline void roll(std::uint64_t key, std::uint64_t element, I count, BlockDice& dice) {
  const auto low = static_cast<std::uint32_t>(element), high = static_cast<std::uint32_t>(element >> 32);
  const auto steps = static_cast<std::uint32_t>(count);
#pragma omp simd
  for (std::uint32_t i = 0; i < steps; ++i) {
    const std::uint32_t own = low + i;
    const Dice rolled = dice_of(key, high + (own < low ? 1U : 0U), own);
    dice.weight[i] = rolled.weight;
    dice.first[i] = rolled.first;
    dice.second[i] = rolled.second;
  }
}

template <Stored Weight, Stored Gradient, Stored Moments>
void update_blocks(const AdamWRule& rule, const AdamWTensors& t, I first_block, I last_block) {
  constexpr bool rolls = Weight == Stored::bfloat16 || Moments != Stored::float32;
  Block weights, gradients, first, second;
  BlockDice dice;
  for (I block = first_block; block < last_block; ++block) {
    const I begin = block * moment_block, left = t.count - begin, count = left < moment_block ? left : moment_block;
    read<Weight>(t.weights, begin, count, weights);
    read<Gradient>(t.gradients, begin, count, gradients);
    read_moments<Moments>(t, begin, count, first, second);
#pragma omp simd
    for (I i = 0; i < count; ++i) {
      AdamWMoments own{first.values[i], second.values[i]};
      weights.values[i] = adamw(rule, weights.values[i], gradients.values[i], own);
      first.values[i] = own.first;
      second.values[i] = own.second;
    }
    if constexpr (rolls) roll(rule.key, static_cast<std::uint64_t>(t.first_element + begin), count, dice);
    write<Weight>(weights, dice.weight, begin, count, t.weights);
    write_moments<Moments>(first, second, dice, begin, count, t);
  }
}

template <Stored Weight, Stored Gradient>
UpdateBlocks of_moments(Stored moments) {
  if (moments == Stored::float32) return update_blocks<Weight, Gradient, Stored::float32>;
  if (moments == Stored::bfloat16) return update_blocks<Weight, Gradient, Stored::bfloat16>;
  return update_blocks<Weight, Gradient, Stored::eight_bit>;
}

template <Stored Weight>
UpdateBlocks of_gradients(Stored gradients, Stored moments) {
  if (gradients == Stored::float32) return of_moments<Weight, Stored::float32>(moments);
  return of_moments<Weight, Stored::bfloat16>(moments);
}

}  // namespace

UpdateBlocks update_blocks_of(Stored weights, Stored gradients, Stored moments) {
  if (weights == Stored::float32) return of_gradients<Stored::float32>(gradients, moments);
  return of_gradients<Stored::bfloat16>(gradients, moments);
}

}  // namespace rrhf::optim::cpu::RRHF_ISA
