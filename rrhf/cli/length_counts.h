// Lengths counted one by one, for exact percentiles in memory that grows only with the number of different lengths.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>

namespace rrhf::cli {

class LengthCounts {
 public:
  void add(std::int64_t length) {
    ++counts_[length];
    ++total_;
    sum_ += length;
  }

  std::int64_t total() const noexcept { return total_; }
  double mean() const noexcept { return total_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(total_); }
  std::int64_t max() const noexcept { return counts_.empty() ? 0 : counts_.rbegin()->first; }

  /// The smallest length that at least `share` (0 to 1) of all lengths do not pass; 0 when there are none.
  std::int64_t percentile(double share) const {
    const auto rank = static_cast<std::int64_t>(std::ceil(share * static_cast<double>(total_)));
    std::int64_t seen = 0;
    for (const auto& [length, count] : counts_) {
      seen += count;
      if (seen >= rank) return length;
    }
    return 0;
  }

 private:
  std::map<std::int64_t, std::int64_t> counts_;
  std::int64_t total_ = 0;
  std::int64_t sum_ = 0;
};

}  // namespace rrhf::cli
