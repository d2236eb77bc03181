#include "rrhf/model/arena.h"

#include <ATen/ops/empty.h>

namespace rrhf::model {
namespace {

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + Arena::alignment - 1) / Arena::alignment * Arena::alignment;
}

std::int64_t size_of(const at::Tensor& bytes) { return bytes.defined() ? bytes.numel() : 0; }

}  // namespace

void Arena::begin(std::int64_t bytes) {
  if (bytes > size_of(room_)) {
    room_.reset();  // before the one that replaces it
    room_ = at::empty({aligned(bytes)}, at::TensorOptions(at::kCPU).dtype(at::kByte));
  }
  front_ = back_ = 0;
}

at::Tensor Arena::take(c10::IntArrayRef sizes, const at::TensorOptions& options, End end) {
  const at::ScalarType dtype = at::typeMetaToScalarType(options.dtype());
  auto bytes = static_cast<std::int64_t>(c10::elementSize(dtype));
  for (const std::int64_t size : sizes) bytes *= size;
  const std::int64_t taken = aligned(bytes);
  if (bytes == 0 || front_ + taken + back_ > size_of(room_)) return at::empty(sizes, options);
  std::int64_t& used = end == End::front ? front_ : back_;
  const std::int64_t begin = end == End::front ? front_ : size_of(room_) - back_ - taken;
  used += taken;
  return room_.narrow(0, begin, bytes).view(dtype).view(sizes);
}

void Arena::release() noexcept {
  room_.reset();
  front_ = back_ = 0;
}

at::Tensor Room::empty(c10::IntArrayRef sizes, const at::TensorOptions& options) const {
  return arena_ == nullptr ? at::empty(sizes, options) : arena_->take(sizes, options, end_);
}

}  // namespace rrhf::model
