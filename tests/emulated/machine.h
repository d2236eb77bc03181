// Streams and memory of the emulated GPU (gpu.h), and what of it was touched when.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/emulated/timeline.h"

struct CUstream_st;

namespace rrhf::emulated {

inline constexpr auto device_type = at::kPrivateUse1;
inline constexpr Agent default_stream = host_agent + 1;

/// A stream under CUDA's name: its number for an address.
inline CUstream_st* stream_of(Agent agent) { return reinterpret_cast<CUstream_st*>(agent); }
inline Agent agent_of(CUstream_st* stream) { return reinterpret_cast<Agent>(stream); }

/// Safe from several threads, which together are the host.
class Machine {
 public:
  static Machine& instance();

  /// Of this thread.
  static Agent& current_stream();
  /// Another one than at the call before.
  Agent pooled_stream();

  /// Memory for the current stream, every bit set: NaN in every floating type. Blocks that were let go of are taken
  /// first, the least that is large enough, whole.
  c10::DataPtr allocate(std::size_t size);
  void record_stream(const at::Tensor& tensor, Agent stream);
  /// From now on so many bytes can be held, as take_peak() counts them: more ends with c10::OutOfMemoryError.
  void cap(std::int64_t bytes);

  void operate(Agent agent, std::string_view operation, const std::vector<at::Tensor>& read,
               const std::vector<at::Tensor>& written);
  /// An operation that was counted by operate() has also made these.
  void write_made(Agent agent, std::string_view operation, const std::vector<at::Tensor>& made);

  /// The same over memory of the GPU, by where memory_at() says it begins.
  void operate_on_blocks(Agent agent, std::string_view operation, const std::vector<const void*>& read,
                         const std::vector<const void*>& written);
  /// What was asked for at once and holds this byte; empty for memory that is not the GPU's, or is nobody's now.
  std::span<const std::byte> memory_at(const void* byte);

  /// Everything a stream has been given to do, which comes after all the host did.
  Time now(Agent stream);
  void wait(Agent agent, const Time& time);
  bool passed(const Time& time);

  std::vector<std::string> take_races();
  std::int64_t take_peak();
  std::map<std::string, std::int64_t> take_operations();

 private:
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0, asked_for = 0;
    Agent stream = host_agent;
    std::vector<Agent> recorded;  // other streams that use it
    std::vector<Time> pending;    // where they were when it was let go of
    History history;              // of all it was handed out for
  };
  // Memory of the host, known by its storage for as long as that lives.
  struct HostMemory {
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;
    History history;
  };

  Machine();
  void count(Agent agent, std::string_view operation);
  bool is_free(const Block& block) const;
  std::int64_t held() const;
  std::unique_ptr<Block> reused(std::size_t size);
  void free(Block* block);
  std::vector<History*> histories(const std::vector<at::Tensor>& tensors);

  std::mutex mutex_;
  Timeline timeline_;
  std::size_t pooled_ = 0;
  std::map<std::string, std::int64_t> operations_;
  std::int64_t in_use_ = 0, peak_ = 0, most_ = std::numeric_limits<std::int64_t>::max();
  std::list<std::unique_ptr<Block>> free_;  // the last one let go of first
  std::map<const void*, Block*> used_;
  std::map<const void*, HostMemory> host_;
};

}  // namespace rrhf::emulated
