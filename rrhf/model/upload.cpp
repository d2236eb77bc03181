#include "rrhf/model/upload.h"

#include <ATen/ATen.h>

#include <cstring>

namespace rrhf::model {
namespace {

// Of every vector's first element; what vector loads on a GPU need.
constexpr std::size_t alignment = 16;

}  // namespace

void Upload::add(const void* values, std::size_t bytes, at::ScalarType type, at::Tensor& to) {
  items_.push_back({values, bytes, type, size_, &to});
  size_ += (bytes + alignment - 1) / alignment * alignment;
}

void Upload::add(const std::vector<std::int32_t>& values, at::Tensor& to) {
  add(values.data(), values.size() * sizeof(std::int32_t), at::kInt, to);
}

void Upload::add(const std::vector<std::int64_t>& values, at::Tensor& to) {
  add(values.data(), values.size() * sizeof(std::int64_t), at::kLong, to);
}

void Upload::add(const std::vector<double>& values, at::Tensor& to) {
  add(values.data(), values.size() * sizeof(double), at::kDouble, to);
}

void Upload::send(at::Device device) const {
  const auto bytes = at::TensorOptions().dtype(at::kByte).pinned_memory(device.is_cuda());
  const at::Tensor here = at::empty({static_cast<std::int64_t>(size_)}, bytes);
  auto* begin = here.mutable_data_ptr<std::uint8_t>();
  for (const Item& item : items_) {
    if (item.bytes > 0) std::memcpy(begin + item.begin, item.values, item.bytes);
  }
  const at::Tensor there = here.to(device, at::kByte, /*non_blocking=*/true);
  for (const Item& item : items_) {
    *item.to =
        there.narrow(0, static_cast<std::int64_t>(item.begin), static_cast<std::int64_t>(item.bytes)).view(item.type);
  }
}

}  // namespace rrhf::model
