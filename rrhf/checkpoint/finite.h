// Weights that are no numbers, and such as are nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace rrhf::checkpoint {

/// How many elements are infinite or NaN. Of a floating tensor on the CPU.
std::int64_t count_not_finite(const at::Tensor& tensor);

/// How many elements are zero, of either sign. Of a floating tensor on the CPU.
std::int64_t count_zeros(const at::Tensor& tensor);

}  // namespace rrhf::checkpoint
