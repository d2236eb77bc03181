// Moments in 8 bits (adamw_rules.h) to and from float32, whole tensors at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include "rrhf/optim/adamw_rules.h"

namespace rrhf::optim {

enum class Moment { first, second };

/// How many scales `count` elements have.
constexpr std::int64_t scales_of(std::int64_t count) { return (count + moment_block - 1) / moment_block; }

/// float32 of codes and their scales, on the codes' device.
at::Tensor decode_moments(Moment moment, const at::Tensor& codes, const at::Tensor& scales);

/// Writes codes and scales, each number rounded to the nearest: of what decode_moments() gave, the same again.
void encode_moments(Moment moment, const at::Tensor& values, at::Tensor& codes, at::Tensor& scales);

}  // namespace rrhf::optim
