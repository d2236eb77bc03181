#include "rrhf/core/random.h"

#include <numeric>
#include <utility>

namespace rrhf {
namespace {

constexpr std::uint64_t golden_gamma = 0x9e3779b97f4a7c15;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

}  // namespace

RandomStream::RandomStream(std::uint64_t seed, std::initializer_list<std::uint64_t> keys)
    : state_(mix(seed + golden_gamma)) {
  // next() on one side only: with the plain state, seed and first key could be swapped, and equal ones would cancel.
  for (const std::uint64_t key : keys) state_ = mix(next() ^ mix(key + golden_gamma));
}

std::uint64_t RandomStream::next() { return mix(state_ += golden_gamma); }

double RandomStream::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

std::uint64_t RandomStream::below(std::uint64_t bound) {
  // Values below 2^64 mod bound would make the small remainders likelier.
  const std::uint64_t reject_below = -bound % bound;
  std::uint64_t value = next();
  while (value < reject_below) value = next();
  return value % bound;
}

std::vector<std::int64_t> permutation(std::int64_t count, RandomStream stream) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[stream.below(i)]);
  return order;
}

}  // namespace rrhf
