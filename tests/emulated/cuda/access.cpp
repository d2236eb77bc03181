#include "tests/emulated/cuda/access.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/emulated/machine.h"

namespace rrhf::emulated {
namespace {

constexpr std::uint32_t several_blocks = 0xffffffffU;
constexpr std::uint16_t several_warps = 0xffffU, several_of_warp = 0x8000U;  // and the warp's number

std::uint16_t warp_of(std::uint16_t thread) {
  return (thread & several_of_warp) != 0 ? thread & ~several_of_warp : thread / warp_size;
}

// Who read, where `thread` has read too.
std::uint16_t together(std::uint16_t readers, std::uint16_t thread) {
  if (readers == thread || readers == several_warps) return readers;
  return warp_of(readers) == warp_of(thread) ? several_of_warp | warp_of(thread) : several_warps;
}

bool holds(std::span<const std::byte> memory, std::span<const std::byte> part) {
  return part.data() >= memory.data() && part.data() + part.size() <= memory.data() + memory.size();
}

}  // namespace

void Accesses::begin_block(std::span<const std::byte> shared) {
  const auto begin = reinterpret_cast<std::uintptr_t>(shared.data());
  for (std::uintptr_t page = begin; page < begin + shared.size(); page += page_bytes) pages_.erase(page / page_bytes);
  arrays_.clear();
  last_page_ = {0, nullptr};
}

bool Accesses::is_of_block(std::span<const std::byte> access) const {
  return std::ranges::any_of(arrays_, [&](const auto& array) { return holds(array, access); });
}

std::string Accesses::check(const Accessor& by, const void* at, std::size_t size, bool writes, bool aligned,
                            std::span<const std::byte> stack) {
  const std::span access(static_cast<const std::byte*>(at), size);
  if (holds(stack, access)) return {};
  if (!writes && holds(arguments_, access)) return {};
  const char* verb = writes ? "writes" : "reads";
  const auto address = reinterpret_cast<std::uintptr_t>(at);
  if (aligned && address % size != 0) return fmt::format("{} {} bytes at an address not aligned to them", verb, size);
  const bool of_block = is_of_block(access);
  if (!of_block && !is_of_gpu(access, writes)) return fmt::format("{} {} bytes outside the GPU's memory", verb, size);
  for (std::uintptr_t part = address / cell_bytes * cell_bytes; part < address + size; part += cell_bytes) {
    Cell& own = cell(part);
    if (of_block && !writes && own.write.block == 0) return "reads shared memory that nobody wrote";
    if (const std::string with = touch(own, by, writes); !with.empty()) {
      return fmt::format("{} what {}, with no barrier between", verb, with);
    }
  }
  return {};
}

bool Accesses::is_of_gpu(std::span<const std::byte> access, bool writes) {
  if (holds(last_memory_, access) && (last_written_ || !writes)) return true;
  last_memory_ = Machine::instance().memory_at(access.data());
  if (!holds(last_memory_, access)) return false;
  bool& written = touched_[last_memory_.data()];
  written = written || writes;
  last_written_ = written;
  return true;
}

Accesses::Cell& Accesses::cell(std::uintptr_t at) {
  const std::uintptr_t page = at / page_bytes;
  if (last_page_.second == nullptr || last_page_.first != page) {
    last_page_ = {page, &pages_.try_emplace(page, page_bytes / cell_bytes).first->second};
  }
  return (*last_page_.second)[at % page_bytes / cell_bytes];
}

bool Accesses::Touch::conflicts(const Accessor& by, bool shuffles_order) const {
  if (block == 0) return false;
  if (block != by.block + 1) return true;
  if (thread == by.thread || barriers != by.barriers) return false;
  return !shuffles_order || thread == several_warps || warp_of(thread) != warp_of(by.thread) || shuffles == by.shuffles;
}

std::string Accesses::Touch::name() const {
  if (block == several_blocks) return "several blocks";
  if (thread == several_warps) return fmt::format("several warps of block {}", block - 1);
  if ((thread & several_of_warp) != 0) return fmt::format("several threads of block {}", block - 1);
  return fmt::format("thread {} of block {}", thread, block - 1);
}

// Notes the access; says with whose it is not ordered.
std::string Accesses::touch(Cell& cell, const Accessor& by, bool writes) {
  const Touch own{by.block + 1, by.thread, by.barriers, by.shuffles};
  if (cell.write.conflicts(by, /*shuffles_order=*/false)) return cell.write.name() + " wrote";
  if (writes) {
    if (cell.read.conflicts(by, /*shuffles_order=*/true)) return cell.read.name() + " read";
    cell.write = own;
    return {};
  }
  Touch& read = cell.read;
  const bool with_others = read.block == own.block && read.barriers == own.barriers;
  const std::uint16_t readers = with_others ? together(read.thread, own.thread) : own.thread;
  const bool elsewhere = read.block != 0 && read.block != own.block;
  read = {elsewhere ? several_blocks : own.block, readers, own.barriers, own.shuffles};
  return {};
}

}  // namespace rrhf::emulated

// What the compiler calls at each access of a source compiled with -fsanitize=thread.
using rrhf::emulated::report_access;

#define RRHF_ACCESSES(size)                                                                   \
  void __tsan_read##size(const void* at) { report_access(at, size, false, true); }            \
  void __tsan_write##size(const void* at) { report_access(at, size, true, true); }            \
  void __tsan_unaligned_read##size(const void* at) { report_access(at, size, false, false); } \
  void __tsan_unaligned_write##size(const void* at) { report_access(at, size, true, false); }

extern "C" {
RRHF_ACCESSES(1)
RRHF_ACCESSES(2)
RRHF_ACCESSES(4)
RRHF_ACCESSES(8)
RRHF_ACCESSES(16)
void __tsan_read_range(const void* at, std::size_t size) { report_access(at, size, false, false); }
void __tsan_write_range(const void* at, std::size_t size) { report_access(at, size, true, false); }
void __tsan_func_entry(const void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}

#undef RRHF_ACCESSES
