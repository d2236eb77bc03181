// Kernels' own source run by the CPU, thread by thread, as CUDA's blocks of threads run it.
//
// include/ stands in for CUDA's headers, and what C++ has no words for, launches and shared memory, is rewritten into
// calls of what stands here (tests/emulated/CMakeLists.txt). Threads of a block take turns in an
// order of chance, each up to its next barrier or shuffle, and blocks follow one another in such an order. Accesses to
// memory are checked one by one (access.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

struct CUstream_st;

namespace rrhf::emulated {

/// What a launch asks for.
struct Grid {
  std::string kernel;  ///< its name, for messages
  unsigned blocks = 0;
  unsigned threads = 0;          ///< of a block
  std::size_t shared_bytes = 0;  ///< of shared memory, beside what the kernel declares
  CUstream_st* stream = nullptr;
};

/// What each thread of a grid does: a function, and the memory with what it is called with, which the thread may read.
struct ThreadCall {
  void (*function)(const void* call);
  const void* call;
  std::size_t size;
};

/// Runs a grid. One that CUDA refuses is left alone, and known to take_refusal(). Throws std::runtime_error, naming
/// kernel, block and thread, at the first access that a GPU would not forgive, and where threads of a block wait for
/// one another without end.
void run(const Grid& grid, const ThreadCall& thread);

/// Whether a grid was refused since the last call.
bool take_refusal();

/// A launch of a kernel, to be called with its arguments.
template <class... Parameters>
auto launch(const char* name, void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
            std::size_t shared_bytes, CUstream_st* stream) {
  return [grid = Grid{name, blocks, threads, shared_bytes, stream}, kernel](std::type_identity_t<Parameters>... own) {
    using Call = std::pair<void (*)(Parameters...), std::tuple<Parameters...>>;
    const Call call(kernel, std::tuple<Parameters...>(own...));
    run(grid, {[](const void* of) {
                 const Call& made = *static_cast<const Call*>(of);
                 std::apply(made.first, made.second);
               },
               &call, sizeof call});
  };
}

// What follows is for a kernel's threads.

struct Place {
  unsigned thread, threads, block, blocks;
};
Place here();

/// Waits for all threads of the block that have not ended.
void barrier(std::source_location from);

/// Waits for all 32 threads of the warp; what the thread `lane_mask` away gave, bit by bit.
std::uint32_t exchange(std::uint32_t own, std::uint32_t members, int lane_mask, std::source_location from);

/// The block's room for what is declared at `line` of a kernel; the same for each of its threads.
void* shared_room(unsigned line, std::size_t size);
/// That of the launch's shared_bytes.
void* dynamic_room();

template <class T>
T& shared(unsigned line) {
  return *static_cast<T*>(shared_room(line, sizeof(T)));
}

}  // namespace rrhf::emulated
