#include "tests/emulated/machine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

namespace rrhf::emulated {
namespace {

constexpr std::size_t stream_count = 9;  // the default one and a pool

c10::weak_intrusive_ptr<c10::StorageImpl> weak(const at::Tensor& tensor) {
  return c10::weak_intrusive_ptr<c10::StorageImpl>(tensor.storage().getWeakStorageImpl());
}

}  // namespace

Machine& Machine::instance() {
  static auto* machine = new Machine;  // never destroyed: tensors of other statics may outlive it
  return *machine;
}

Machine::Machine() {
  for (std::size_t i = 0; i < stream_count; ++i) timeline_.add_stream();
}

Agent& Machine::current_stream() {
  thread_local Agent stream = default_stream;
  return stream;
}

Agent Machine::pooled_stream() {
  const std::lock_guard lock(mutex_);
  pooled_ = pooled_ % (stream_count - 1) + 1;
  return default_stream + pooled_;
}

bool Machine::is_free(const Block& block) const {
  return std::ranges::all_of(block.pending, [this](const Time& time) { return timeline_.passed(time); });
}

// The smallest block of the current stream that is large enough and free by now; of equal ones the last let go of.
std::unique_ptr<Machine::Block> Machine::reused(std::size_t size) {
  auto best = free_.end();
  for (auto block = free_.begin(); block != free_.end(); ++block) {
    const Block& own = **block;
    if (own.stream != current_stream() || own.size < size || !is_free(own)) continue;
    if (best == free_.end() || own.size < (*best)->size) best = block;
  }
  if (best == free_.end()) return nullptr;
  std::unique_ptr<Block> found = std::move(*best);
  free_.erase(best);
  found->pending.clear();
  found->recorded.clear();
  return found;
}

std::int64_t Machine::held() const {
  std::int64_t sum = in_use_;
  for (const auto& waiting : free_) sum += is_free(*waiting) ? 0 : static_cast<std::int64_t>(waiting->asked_for);
  return sum;
}

void Machine::cap(std::int64_t bytes) {
  const std::lock_guard lock(mutex_);
  most_ = bytes;
}

c10::DataPtr Machine::allocate(std::size_t size) {
  const std::lock_guard lock(mutex_);
  TORCH_CHECK_WITH(OutOfMemoryError, held() + static_cast<std::int64_t>(size) <= most_,
                   "the emulated GPU has no room for ", size, " bytes");
  std::unique_ptr<Block> block = reused(size);
  if (!block) {
    block = std::make_unique<Block>();
    block->bytes = std::make_unique<std::byte[]>(size);
    block->size = size;
    block->stream = current_stream();
  }
  std::memset(block->bytes.get(), 0xFF, block->size);
  block->asked_for = size;
  in_use_ += static_cast<std::int64_t>(size);
  peak_ = std::max(peak_, held());
  void* bytes = block->bytes.get();
  used_.emplace(bytes, block.get());
  return {bytes, block.release(), [](void* context) { instance().free(static_cast<Block*>(context)); },
          at::Device(device_type, 0)};
}

void Machine::free(Block* block) {
  const std::lock_guard lock(mutex_);
  for (const Agent stream : block->recorded) block->pending.push_back(timeline_.now(stream));
  used_.erase(block->bytes.get());
  in_use_ -= static_cast<std::int64_t>(block->asked_for);
  free_.emplace_front(block);
}

void Machine::record_stream(const at::Tensor& tensor, Agent stream) {
  const std::lock_guard lock(mutex_);
  Block& block = *used_.at(tensor.storage().data());
  if (stream != block.stream) block.recorded.push_back(stream);
}

void Machine::count(Agent agent, std::string_view operation) {
  if (agent != host_agent) ++operations_[std::string(operation)];
}

void Machine::write_made(Agent agent, std::string_view operation, const std::vector<at::Tensor>& made) {
  const std::lock_guard lock(mutex_);
  timeline_.operate(agent, operation, {}, histories(made));
}

void Machine::operate(Agent agent, std::string_view operation, const std::vector<at::Tensor>& read,
                      const std::vector<at::Tensor>& written) {
  const std::lock_guard lock(mutex_);
  count(agent, operation);
  timeline_.operate(agent, operation, histories(read), histories(written));
}

void Machine::operate_on_blocks(Agent agent, std::string_view operation, const std::vector<const void*>& read,
                                const std::vector<const void*>& written) {
  const std::lock_guard lock(mutex_);
  count(agent, operation);
  const auto histories = [this](const std::vector<const void*>& begins) {
    std::vector<History*> found;
    for (const void* begin : begins) found.push_back(&used_.at(begin)->history);
    return found;
  };
  timeline_.operate(agent, operation, histories(read), histories(written));
}

std::span<const std::byte> Machine::memory_at(const void* byte) {
  const std::lock_guard lock(mutex_);
  const auto after = used_.upper_bound(byte);
  if (after == used_.begin()) return {};
  const Block& block = *std::prev(after)->second;
  const std::span<const std::byte> memory(block.bytes.get(), block.asked_for);
  return byte < memory.data() + memory.size() ? memory : std::span<const std::byte>();
}

Time Machine::now(Agent stream) {
  const std::lock_guard lock(mutex_);
  timeline_.wait(stream, timeline_.now(host_agent));
  return timeline_.now(stream);
}

void Machine::wait(Agent agent, const Time& time) {
  const std::lock_guard lock(mutex_);
  timeline_.wait(agent, time);
}

bool Machine::passed(const Time& time) {
  const std::lock_guard lock(mutex_);
  return timeline_.passed(time);
}

std::vector<std::string> Machine::take_races() {
  const std::lock_guard lock(mutex_);
  return timeline_.take_races();
}

std::map<std::string, std::int64_t> Machine::take_operations() {
  const std::lock_guard lock(mutex_);
  return std::exchange(operations_, {});
}

std::int64_t Machine::take_peak() {
  const std::lock_guard lock(mutex_);
  return std::exchange(peak_, in_use_);
}

std::vector<History*> Machine::histories(const std::vector<at::Tensor>& tensors) {
  std::vector<History*> found;
  for (const at::Tensor& tensor : tensors) {
    if (tensor.numel() == 0) continue;
    if (tensor.device().type() == device_type) {
      found.push_back(&used_.at(tensor.storage().data())->history);
      continue;
    }
    HostMemory& memory = host_.try_emplace(tensor.storage().data(), HostMemory{weak(tensor), {}}).first->second;
    if (memory.storage.expired()) memory = {weak(tensor), {}};
    found.push_back(&memory.history);
  }
  return found;
}

}  // namespace rrhf::emulated
