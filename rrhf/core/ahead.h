// What will be needed next, made by a thread of its own while the present is worked on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace rrhf {

/// Calls `make` again and again on one thread and holds up to `room` results until they are asked for, in order. What
/// `make` refers to must outlive this and not be touched by others meanwhile.
/// One thread asks. Not movable. The destructor waits for a call of `make` that is under way, and drops what is left.
template <class T>
class Ahead {
 public:
  /// `make` returns nothing when there is no more to come; it is not called again then, nor after it threw.
  Ahead(std::function<std::optional<T>()> make, std::size_t room)
      : make_(std::move(make)), room_(room), thread_([this] { run(); }) {}

  ~Ahead() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  /// The next result, waited for if need be; nothing after the last one. Throws what `make` threw, once all results
  /// before it have been taken, and again whenever asked.
  std::optional<T> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !ready_.empty() || ended_; });
    if (ready_.empty()) {
      if (failure_) std::rethrow_exception(failure_);
      return std::nullopt;
    }
    std::optional<T> result(std::move(ready_.front()));
    ready_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return result;
  }

  /// What `make` took so far.
  double seconds() const {
    const std::lock_guard lock(mutex_);
    return seconds_;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void run() {
    std::unique_lock lock(mutex_);
    while (!ended_) {
      changed_.wait(lock, [this] { return ready_.size() < room_ || stop_; });
      if (stop_) return;
      lock.unlock();
      const Clock::time_point begin = Clock::now();
      std::optional<T> made;
      std::exception_ptr failure;
      try {
        made = make_();
      } catch (...) {
        failure = std::current_exception();
      }
      const double took = std::chrono::duration<double>(Clock::now() - begin).count();
      lock.lock();
      seconds_ += took;
      failure_ = failure;
      ended_ = !made;
      if (made) ready_.push_back(std::move(*made));
      changed_.notify_all();
    }
  }

  std::function<std::optional<T>()> make_;
  std::size_t room_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> ready_;
  std::exception_ptr failure_;
  double seconds_ = 0;
  bool ended_ = false;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace rrhf
