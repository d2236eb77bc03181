#include "rrhf/checkpoint/walk.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "rrhf/core/error.h"
#include "rrhf/core/stop.h"

namespace rrhf::checkpoint {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

WalkProgress::WalkProgress(std::string what, std::int64_t total_bytes, std::string if_stopped, Stops stops)
    : what_(std::move(what)), if_stopped_(std::move(if_stopped)), total_(total_bytes), stops_(stops) {}

void WalkProgress::advance(std::int64_t bytes) {
  // What is half-written goes with its StagedFolder.
  if (stops_ == Stops::heeded && StopSignals::requested()) throw Interrupted("stopped", if_stopped_);
  done_ += bytes;
  progress_.update([&] {
    const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    const double done = static_cast<double>(done_), total = static_cast<double>(std::max<std::int64_t>(1, total_));
    return fmt::format("{} {}  {}B of {}B  {}B/s  ETA {}", what_, bar(done / total), short_number(done),
                       short_number(total), short_number(done / seconds),
                       clock_time(seconds * (total - done) / std::max(1.0, done)));
  });
}

ThreadsBeside::ThreadsBeside(int others) : before_(at::get_num_threads()) {
  const int free = static_cast<int>(std::thread::hardware_concurrency()) - others;
  at::set_num_threads(std::clamp(free, 1, before_));
}

ThreadsBeside::~ThreadsBeside() { at::set_num_threads(before_); }

void wait_for(std::initializer_list<const FileHashing*> hashings) {
  std::int64_t total = 0;
  for (const FileHashing* hashing : hashings) total += hashing->bytes_total();
  WalkProgress progress("hashing", total);
  std::int64_t seen = 0;
  for (const FileHashing* hashing : hashings) {
    while (!hashing->finished()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      std::int64_t done = 0;
      for (const FileHashing* each : hashings) done += each->bytes_done();
      progress.advance(done - seen);
      seen = done;
    }
  }
}

}  // namespace rrhf::checkpoint
