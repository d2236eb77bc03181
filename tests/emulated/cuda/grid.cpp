#include "tests/emulated/cuda/grid.h"

#include <fmt/format.h>
#include <ucontext.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/emulated/cuda/access.h"
#include "tests/emulated/machine.h"

namespace rrhf::emulated {
namespace {

constexpr unsigned most_threads = 1024;
constexpr std::size_t most_shared = 48 * 1024, stack_bytes = 64 * 1024;
constexpr std::size_t shared_gap = 16;  // before each array of a block: what goes beyond another is seen

bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() && std::string_view(a.file_name()) == b.file_name();
}

// A thread of one block after the other, on a stack of its own. A context is made once; after that threads change
// places by setjmp and longjmp, which ask nothing of the system.
struct Fiber {
  enum class State { ready, at_barrier, at_exchange, ended };

  std::jmp_buf resumed;
  bool begun = false;
  State state = State::ready;
  std::source_location waits_at;
  std::uint32_t given = 0, members = 0, received = 0;
  int lane_mask = 0;
  std::uint16_t barriers = 0, shuffles = 0;
};

class GridRun;
GridRun*& running() {
  thread_local GridRun* grid = nullptr;
  return grid;
}

// Shared memory begins a page of its own, so that nothing else is taken for it.
struct FreeAligned {
  void operator()(std::byte* bytes) const { ::operator delete (bytes, std::align_val_t{4096}); }
};

class GridRun {
 public:
  GridRun(const Grid& grid, const ThreadCall& call)
      : grid_(grid),
        call_(call),
        stacks_(new std::byte[grid.threads * stack_bytes]),
        fibers_(grid.threads),
        shared_(static_cast<std::byte*>(::operator new (most_shared, std::align_val_t{4096}))) {
    accesses_.allow_reading({static_cast<const std::byte*>(call.call), call.size});
  }

  void run_all() {
    for (const unsigned block : shuffled(grid_.blocks)) run_block(block);
  }

  const Accesses& accesses() const { return accesses_; }

  // What a thread does, called on its own stack.
  Place here() const { return {current_, grid_.threads, block_, grid_.blocks}; }

  void wait_as(Fiber::State state, const std::source_location& from) {
    fiber().state = state;
    fiber().waits_at = from;
    leave();
  }

  Fiber& fiber() { return fibers_[current_]; }

  void check(const void* at, std::size_t size, bool writes, bool aligned) {
    if (is_wrong(at, size, writes, aligned)) abandon();
  }

  void* shared_room(unsigned line, std::size_t size) {
    for (const Room& room : rooms_) {
      if (room.line == line && room.memory.size() == size) return room.memory.data();
    }
    const std::size_t begin = shared_used_ + shared_gap;
    if (begin + size > most_shared) {
      failure_ = fmt::format("more than {} bytes of shared memory", most_shared);
      abandon();
    }
    shared_used_ = (begin + size + 15) / 16 * 16;
    const std::span<std::byte> memory(shared_.get() + begin, size);
    accesses_.add_shared(memory);
    rooms_.push_back({line, memory});
    return memory.data();
  }
  void* dynamic_room() { return shared_.get(); }

 private:
  struct Room {
    unsigned line;
    std::span<std::byte> memory;
  };

  bool is_wrong(const void* at, std::size_t size, bool writes, bool aligned) {
    const Accessor by{block_, static_cast<std::uint16_t>(current_), fiber().barriers, fiber().shuffles};
    const std::span<const std::byte> stack(stacks_.get() + current_ * stack_bytes, stack_bytes);
    const std::string wrong = accesses_.check(by, at, size, writes, aligned, stack);
    if (!wrong.empty()) failure_ = fmt::format("thread {}: {}", current_, wrong);
    return !wrong.empty();
  }

  // Back to where the thread was resumed, for good: nothing of its stack is destroyed, so nothing there may own memory.
  [[noreturn]] void abandon() { std::longjmp(scheduler_, 1); }

  std::vector<unsigned> shuffled(unsigned count) {
    std::vector<unsigned> all(count);
    std::iota(all.begin(), all.end(), 0U);
    std::shuffle(all.begin(), all.end(), chance_);
    return all;
  }

  void run_block(unsigned block) {
    block_ = block;
    for (Fiber& own : fibers_) {
      own.state = Fiber::State::ready;
      own.barriers = own.shuffles = 0;
    }
    rooms_.clear();
    shared_used_ = (grid_.shared_bytes + 15) / 16 * 16;
    std::memset(shared_.get(), 0xFF, most_shared);
    accesses_.begin_block({shared_.get(), most_shared});
    accesses_.add_shared({shared_.get(), grid_.shared_bytes});
    const std::vector<unsigned> order = shuffled(grid_.threads);
    while (true) {
      for (const unsigned thread : order) {
        if (fibers_[thread].state == Fiber::State::ready) resume(thread);
      }
      const auto ended = [](const Fiber& own) { return own.state == Fiber::State::ended; };
      if (std::ranges::all_of(fibers_, ended)) return;
      release();
    }
  }

  void resume(unsigned thread) {
    current_ = thread;
    Fiber& own = fibers_[thread];
    if (setjmp(scheduler_) == 0) {
      if (own.begun) std::longjmp(own.resumed, 1);
      own.begun = true;
      ucontext_t context;
      getcontext(&context);
      context.uc_stack.ss_sp = stacks_.get() + thread * stack_bytes;
      context.uc_stack.ss_size = stack_bytes;
      context.uc_link = nullptr;
      makecontext(&context, &GridRun::begin_thread, 0);
      setcontext(&context);
    }
    if (failure_) give_up(*failure_);
  }

  static void begin_thread() {
    GridRun& grid = *running();
    while (true) {
      grid.call_.function(grid.call_.call);
      grid.fiber().state = Fiber::State::ended;
      grid.leave();
    }
  }

  void leave() {
    if (setjmp(fiber().resumed) == 0) std::longjmp(scheduler_, 1);
  }

  // Lets those go on that have waited for one another; some do, or there is nobody to come.
  void release() {
    bool any = false;
    for (unsigned begin = 0; begin < grid_.threads; begin += warp_size) any = release_warp(begin) || any;
    const auto waits = [](const Fiber& own) { return own.state == Fiber::State::at_barrier; };
    const auto ended = [](const Fiber& own) { return own.state == Fiber::State::ended; };
    if (std::ranges::all_of(fibers_, [&](const Fiber& own) { return waits(own) || ended(own); })) {
      const Fiber& first = *std::ranges::find_if(fibers_, waits);
      for (Fiber& own : fibers_) {
        if (!waits(own)) continue;
        if (!same_place(own.waits_at, first.waits_at)) give_up("threads wait at different barriers");
        own.state = Fiber::State::ready;
        ++own.barriers;
      }
      return;
    }
    if (!any) give_up("threads wait for others that do not come");
  }

  bool release_warp(unsigned begin) {
    const std::span warp(fibers_.data() + begin, std::min<std::size_t>(warp_size, grid_.threads - begin));
    const auto waits = [](const Fiber& own) { return own.state == Fiber::State::at_exchange; };
    const auto first = std::ranges::find_if(warp, waits);
    if (first == warp.end()) return false;
    if (warp.size() < warp_size || first->members != 0xffffffffU) give_up("a shuffle of less than a whole warp");
    for (const Fiber& own : warp) {
      if (own.state == Fiber::State::ended) give_up("a shuffle with a thread that has ended");
      if (!waits(own)) return false;
      if (!same_place(own.waits_at, first->waits_at)) give_up("threads of a warp wait at different shuffles");
      if (own.lane_mask < 0 || own.lane_mask >= static_cast<int>(warp_size)) give_up("a shuffle beyond the warp");
    }
    for (std::size_t lane = 0; lane < warp_size; ++lane) {
      warp[lane].received = warp[lane ^ static_cast<std::size_t>(warp[lane].lane_mask)].given;
      warp[lane].state = Fiber::State::ready;
      ++warp[lane].shuffles;
    }
    return true;
  }

  [[noreturn]] void give_up(std::string_view why) const {
    throw std::runtime_error(fmt::format("[emulated GPU] {}, block {}: {}", grid_.kernel, block_, why));
  }

  const Grid& grid_;
  const ThreadCall& call_;
  std::unique_ptr<std::byte[]> stacks_;
  std::vector<Fiber> fibers_;
  std::unique_ptr<std::byte, FreeAligned> shared_;
  std::size_t shared_used_ = 0;
  std::vector<Room> rooms_;
  unsigned block_ = 0, current_ = 0;
  std::jmp_buf scheduler_;
  std::optional<std::string> failure_;
  std::mt19937 chance_{7};
  Accesses accesses_;
};

// Makes a grid the one whose threads run.
class Running {
 public:
  explicit Running(GridRun& grid) { running() = &grid; }
  ~Running() { running() = nullptr; }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
};

bool& refused_one() {
  thread_local bool refused = false;
  return refused;
}

bool is_refused(const Grid& grid) {
  return grid.blocks == 0 || grid.threads == 0 || grid.threads > most_threads || grid.shared_bytes > most_shared;
}

}  // namespace

void run(const Grid& grid, const ThreadCall& thread) {
  if (is_refused(grid)) {
    refused_one() = true;
    return;
  }
  GridRun own(grid, thread);
  {
    const Running now(own);
    own.run_all();
  }
  std::vector<const void*> read, written;
  for (const auto& [memory, writes] : own.accesses().touched()) (writes ? written : read).push_back(memory);
  Machine::instance().operate_on_blocks(agent_of(grid.stream), grid.kernel, read, written);
}

bool take_refusal() { return std::exchange(refused_one(), false); }

Place here() { return running()->here(); }

void barrier(std::source_location from) { running()->wait_as(Fiber::State::at_barrier, from); }

std::uint32_t exchange(std::uint32_t own, std::uint32_t members, int lane_mask, std::source_location from) {
  GridRun& grid = *running();
  grid.fiber().given = own;
  grid.fiber().members = members;
  grid.fiber().lane_mask = lane_mask;
  grid.wait_as(Fiber::State::at_exchange, from);
  return grid.fiber().received;
}

void* shared_room(unsigned line, std::size_t size) { return running()->shared_room(line, size); }

void* dynamic_room() { return running()->dynamic_room(); }

void report_access(const void* at, std::size_t size, bool writes, bool aligned) {
  if (running() != nullptr) running()->check(at, size, writes, aligned);
}

}  // namespace rrhf::emulated
