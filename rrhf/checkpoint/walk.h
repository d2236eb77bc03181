// What walks over the tensors of a checkpoint share: a bar, the question whether to stop, blocks of rows.
#pragma once

#include <c10/util/ArrayRef.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "rrhf/core/log.h"
#include "rrhf/core/sha256.h"

namespace rrhf::checkpoint {

/// What a walk does when a stop is asked for.
enum class Stops { heeded, ignored };

/// The bar of a walk over a known number of bytes, and its way out.
class WalkProgress {
 public:
  /// `what` is the word before the bar: "recovering"; `if_stopped` what a person reads after a stop.
  WalkProgress(std::string what, std::int64_t total_bytes, std::string if_stopped = "nothing is written",
               Stops stops = Stops::heeded);

  /// Takes note of bytes done. Throws Interrupted once a stop was asked for (StopSignals), where it is heeded.
  void advance(std::int64_t bytes);

 private:
  std::string what_, if_stopped_;
  std::int64_t total_;
  Stops stops_;
  std::int64_t done_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  Progress progress_;
};

/// While one lives, torch leaves processors to `others` threads that work beside it: its own would spin for them.
class ThreadsBeside {
 public:
  explicit ThreadsBeside(int others);
  ~ThreadsBeside();
  ThreadsBeside(const ThreadsBeside&) = delete;
  ThreadsBeside& operator=(const ThreadsBeside&) = delete;

 private:
  int before_;
};

/// Waits until all are hashed. Throws Interrupted when a stop is asked for meanwhile.
void wait_for(std::initializer_list<const FileHashing*> hashings);

/// Calls visit(first, count) for runs of rows (extents of the first dimension) that hold about `block_bytes` of
/// elements of `element_bytes`. A tensor without dimensions is one row.
template <class Visit>
void for_row_blocks(at::IntArrayRef shape, std::int64_t element_bytes, Visit&& visit) {
  constexpr std::int64_t block_bytes = std::int64_t{2} << 20;  // stays in the processor's cache from step to step
  const std::int64_t rows = shape.empty() ? 1 : shape[0];
  std::int64_t row_bytes = element_bytes;
  for (std::size_t i = 1; i < shape.size(); ++i) row_bytes *= shape[i];
  const std::int64_t step = std::max<std::int64_t>(1, block_bytes / std::max<std::int64_t>(1, row_bytes));
  for (std::int64_t row = 0; row < rows; row += step) visit(row, std::min(step, rows - row));
}

}  // namespace rrhf::checkpoint
