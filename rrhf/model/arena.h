// Memory for what the passes over packs keep from forward to backward, one pass after the other in the same place.
//
// Packs differ in size, so that blocks of an allocator's own leave gaps between them, and new pages cost as much as the
// work on them. An arena gives room out in the order it is asked for and takes all of it back at once. At its end it
// has room for what is done with soon, taken back by itself.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>

#include <cstdint>

namespace rrhf::model {

/// On the CPU. Its room is as large as the largest pass so far.
class Arena {
 public:
  static constexpr std::int64_t alignment = 64;  ///< bytes; LibTorch's own for tensors on the CPU

  /// Room of `bytes` for a pass. Tensors taken before are written over by those taken from now on.
  void begin(std::int64_t bytes);

  enum class End { front, back };

  /// A tensor that is not initialized, of `sizes` without gaps; by itself where the room is used up.
  at::Tensor take(c10::IntArrayRef sizes, const at::TensorOptions& options, End end = End::front);

  /// Bytes taken from the front; what has been taken since may be given back by it.
  std::int64_t used() const noexcept { return front_; }
  void rewind(std::int64_t used) noexcept { front_ = used; }

  /// What was taken from the back is given back.
  void clear_back() noexcept { back_ = 0; }

  /// The memory goes back, with the last of the tensors that were taken.
  void release() noexcept;

 private:
  at::Tensor room_;  // bytes
  std::int64_t front_ = 0, back_ = 0;
};

/// Where a function puts a matrix that it makes: in an arena, or by itself.
class Room {
 public:
  Room() = default;
  explicit Room(Arena* arena, Arena::End end = Arena::End::front) : arena_(arena), end_(end) {}  ///< null: by itself

  /// A tensor that is not initialized.
  at::Tensor empty(c10::IntArrayRef sizes, const at::TensorOptions& options) const;

 private:
  Arena* arena_ = nullptr;
  Arena::End end_ = Arena::End::front;
};

}  // namespace rrhf::model
