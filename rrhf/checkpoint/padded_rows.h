// The rows of a tensor, with further rows after its own: how an embedding gets the row of a new token.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "rrhf/core/choices.h"

namespace rrhf::checkpoint {

/// A tensor seen in another dtype and with another number of rows, block by block. Refers to the tensor.
class PaddedRows {
 public:
  /// `rows` may be fewer than the tensor has: then its last ones are left out. A mean is that of all rows the tensor
  /// has, in `dtype` (float16 and bfloat16: summed in float32, then rounded), as torch's mean over dimension 0 is.
  PaddedRows(at::Tensor tensor, std::int64_t rows, at::ScalarType dtype, RowFill fill);

  std::int64_t rows() const noexcept { return rows_; }

  /// Rows [first, first + count) in the dtype. Shares memory with the tensor where that is possible: read only.
  at::Tensor block(std::int64_t first, std::int64_t count) const;

 private:
  at::Tensor tensor_;
  std::int64_t rows_;
  at::ScalarType dtype_;
  at::Tensor new_row_;  // of one row; undefined when none is needed
};

}  // namespace rrhf::checkpoint
