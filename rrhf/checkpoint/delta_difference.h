// The arithmetic of deltas: target = base + delta, in one dtype, rounded once.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace rrhf::checkpoint {

/// A delta and what adding it to the base gives.
struct Difference {
  at::Tensor delta;
  at::Tensor restored;  ///< base + delta, as applying computes it
};

/// The delta for tensors of one shape and one dtype (floating, on the CPU).
///
/// target - base is exact where the two are within a factor of two of each other (Sterbenz), which fine-tuning mostly
/// leaves them. Elsewhere the difference is rounded, and adding it may miss the target by a rounding: then its
/// neighbours are tried, and the one that leads back, or else nearest, is taken. What can't be reached at all: a target
/// much smaller than the base, and -0 where the base is not -0.
Difference restoring_difference(const at::Tensor& target, const at::Tensor& base);

/// How much of a target its delta does not bring back bit for bit.
struct Rounding {
  std::int64_t tensors = 0;          ///< looked at
  std::int64_t elements = 0;         ///< looked at
  std::int64_t inexact_tensors = 0;  ///< with at least one element that does not come back
  std::int64_t inexact_elements = 0;
  double largest_absolute = 0;  ///< |restored - target| over them; infinity where one is not finite
  double largest_relative = 0;  ///< the same by |target|: 1 for a target so small that it is lost whole
  std::string largest_in;       ///< the tensor of the largest relative error

  /// Counts a block of a tensor. Both in the target's own dtype.
  void add_block(const std::string& name, const at::Tensor& restored, const at::Tensor& target);

 private:
  struct Errors {
    std::int64_t count = 0;
    double absolute = 0, relative = 0;
    void add(double got, double want);
  };
  std::string last_, last_inexact_;
};

/// True when both have the same bits. Same shape, same dtype.
bool same_bits(const at::Tensor& a, const at::Tensor& b);

}  // namespace rrhf::checkpoint
