// Random streams that depend on nothing but their keys.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace rrhf {

/// A stream of random numbers keyed by a seed and any further numbers (epoch, row, sample): the same keys give the same
/// stream on every machine and whatever else is drawn beside it. SplitMix64 (Steele, Lea, Flood 2014).
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed, std::initializer_list<std::uint64_t> keys = {});

  std::uint64_t next();

  /// Uniform in [0, 1), 53 bits.
  double uniform();

  /// Uniform in [0, bound), without bias. bound > 0.
  std::uint64_t below(std::uint64_t bound);

 private:
  std::uint64_t state_;
};

/// 0 .. count-1 in an order given by the stream (Fisher-Yates).
std::vector<std::int64_t> permutation(std::int64_t count, RandomStream stream);

}  // namespace rrhf
