#include "rrhf/checkpoint/padded_rows.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace rrhf::checkpoint {

PaddedRows::PaddedRows(at::Tensor tensor, std::int64_t rows, at::ScalarType dtype, RowFill fill)
    : tensor_(tensor.dim() == 0 ? tensor.unsqueeze(0) : std::move(tensor)), rows_(rows), dtype_(dtype) {
  if (rows_ <= tensor_.size(0)) return;
  new_row_ = fill == RowFill::mean ? tensor_.to(dtype_).mean(0, true)
                                   : at::zeros_like(tensor_.narrow(0, 0, 1), at::TensorOptions().dtype(dtype_));
}

at::Tensor PaddedRows::block(std::int64_t first, std::int64_t count) const {
  const std::int64_t own = std::clamp<std::int64_t>(tensor_.size(0) - first, 0, count);
  if (own == count) return tensor_.narrow(0, first, count).to(dtype_);
  std::vector<std::int64_t> shape = tensor_.sizes().vec();
  shape[0] = count;
  at::Tensor block = at::empty(shape, at::TensorOptions().dtype(dtype_));
  if (own > 0) block.narrow(0, 0, own).copy_(tensor_.narrow(0, first, own));
  block.narrow(0, own, count - own).copy_(new_row_.expand_as(block.narrow(0, own, count - own)));
  return block;
}

}  // namespace rrhf::checkpoint
