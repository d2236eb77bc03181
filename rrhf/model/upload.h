// Numbers on their way from the host to a tensor on a device, without waiting for the device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rrhf::model {

/// Several vectors in one transfer, each a tensor of its own in the end. On a GPU the transfer is queued on the current
/// stream, from page-locked memory that stays until it is done.
class Upload {
 public:
  /// `values` and `to` must live until send().
  void add(const std::vector<std::int32_t>& values, at::Tensor& to);
  void add(const std::vector<std::int64_t>& values, at::Tensor& to);
  void add(const std::vector<double>& values, at::Tensor& to);

  /// Makes the tensors, int32, int64 and float64, one-dimensional, views into one piece of memory.
  void send(at::Device device) const;

 private:
  struct Item {
    const void* values;
    std::size_t bytes;
    at::ScalarType type;
    std::size_t begin;
    at::Tensor* to;
  };
  void add(const void* values, std::size_t bytes, at::ScalarType type, at::Tensor& to);

  std::vector<Item> items_;
  std::size_t size_ = 0;
};

}  // namespace rrhf::model
