// Memory that whole units pass through, kept from one unit to the next.
//
// Buffers that come and go by the layer would leave the heap in pieces: what a layer keeps for its backward pass
// settles in the gap that its weights leave, and the next weights need new memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace rrhf::distributed {

class UnitRooms {
 public:
  /// Rooms for `size` elements each.
  UnitRooms(std::int64_t size, at::TensorOptions options) : size_(size), options_(options) {}

  /// A room that nobody uses, made when there is none.
  at::Tensor take();
  void give_back(at::Tensor room) { free_.push_back(std::move(room)); }

 private:
  std::int64_t size_;
  at::TensorOptions options_;
  std::vector<at::Tensor> free_;
};

/// The number of elements of the largest of some parts.
std::int64_t largest(const std::vector<at::Tensor>& parts);

}  // namespace rrhf::distributed
