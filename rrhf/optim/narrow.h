// Which numbers are computed with in a wider form than they are kept in.
#pragma once

#include <ATen/core/Tensor.h>

namespace rrhf::optim {

inline bool is_narrow(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf;
}

}  // namespace rrhf::optim
