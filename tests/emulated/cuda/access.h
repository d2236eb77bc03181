// Each access of an emulated kernel to memory, held against what a GPU allows: to memory of the GPU, of the block or of
// the thread itself, aligned to its size, to shared memory only after it was written, and never two threads to the same
// bytes, one of them writing, unless a barrier of their block lies between. Between a read and a write after it a
// shuffle of their warp will do: what was read is there before the shuffle ends. It does not make what was written be
// seen.
//
// What compute-sanitizer's memcheck, racecheck and initcheck are for. The compiler reports the accesses: kernels are
// compiled with -fsanitize=thread and linked without its runtime, whose entry points are defined in access.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rrhf::emulated {

inline constexpr unsigned warp_size = 32;

/// Who makes an access, and after how many barriers of its block and shuffles of its warp.
struct Accessor {
  std::uint32_t block = 0;
  std::uint16_t thread = 0, barriers = 0, shuffles = 0;
};

/// One launch's accesses.
class Accesses {
 public:
  /// A block begins: what it will have for shared memory lies here, and nobody has written it.
  void begin_block(std::span<const std::byte> shared);
  /// An array of the block's, in that memory.
  void add_shared(std::span<const std::byte> array) { arrays_.push_back(array); }
  void allow_reading(std::span<const std::byte> memory) { arguments_ = memory; }

  /// What is wrong with it; empty if nothing is. `stack` is the thread's own.
  std::string check(const Accessor& by, const void* at, std::size_t size, bool writes, bool aligned,
                    std::span<const std::byte> stack);

  /// The GPU's memory that was touched, by the begins of its blocks, and whether it was written.
  const std::map<const void*, bool>& touched() const { return touched_; }

 private:
  // The last access of a kind. Several readers stand together: as threads of a warp, of a block, or of several blocks.
  struct Touch {
    std::uint32_t block = 0;  // one more than its number; 0 is nobody
    std::uint16_t thread = 0, barriers = 0, shuffles = 0;

    bool conflicts(const Accessor& by, bool shuffles_order) const;
    std::string name() const;
  };
  // Two bytes: the least that two threads may own side by side.
  struct Cell {
    Touch write, read;
  };
  static constexpr std::size_t cell_bytes = 2, page_bytes = 4096;
  using Page = std::vector<Cell>;

  bool is_of_block(std::span<const std::byte> access) const;
  bool is_of_gpu(std::span<const std::byte> access, bool writes);
  Cell& cell(std::uintptr_t at);
  static std::string touch(Cell& cell, const Accessor& by, bool writes);

  std::span<const std::byte> arguments_;
  std::vector<std::span<const std::byte>> arrays_;
  std::unordered_map<std::uintptr_t, Page> pages_;
  std::pair<std::uintptr_t, Page*> last_page_{0, nullptr};
  std::span<const std::byte> last_memory_;
  bool last_written_ = false;
  std::map<const void*, bool> touched_;
};

/// An access of the thread that runs, if one does. Does not come back from one that is wrong.
void report_access(const void* at, std::size_t size, bool writes, bool aligned);

}  // namespace rrhf::emulated
