// How the tensors of a unit lie one behind the other in one flat buffer, and how the buffer is cut among ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace rrhf::distributed {

/// The part of a tensor that lies in one rank's part of the buffer, in elements.
struct Piece {
  std::size_t tensor = 0;
  std::int64_t tensor_begin = 0;  ///< first element of the tensor, in row-major order
  std::int64_t part_begin = 0;    ///< where it lies in the part
  std::int64_t size = 0;
};

/// Tensors begin at multiples of 64 elements, the buffer is filled up to a multiple of 256 a part; what lies between
/// tensors belongs to none and stays 0, so that norms and updates may go over the whole buffer.
class UnitLayout {
 public:
  UnitLayout(std::vector<std::vector<std::int64_t>> shapes, int parts);

  std::int64_t size() const noexcept { return part_size_ * parts_; }  ///< of the whole buffer
  std::int64_t part_size() const noexcept { return part_size_; }

  /// The tensors as views into a whole buffer.
  std::vector<at::Tensor> views(const at::Tensor& whole) const;

  /// What lies in part `part`, in order.
  std::vector<Piece> pieces(int part) const;

 private:
  std::vector<std::vector<std::int64_t>> shapes_;
  std::vector<std::int64_t> begins_;
  std::int64_t part_size_ = 0;
  int parts_;
};

}  // namespace rrhf::distributed
