// How far numbers computed on two ways lie apart.
#pragma once

#include <ATen/ATen.h>

namespace rrhf::model {

/// max|got - expected| / max|expected|.
inline double difference(const at::Tensor& got, const at::Tensor& expected) {
  return ((got - expected).abs().max() / expected.abs().max()).item<double>();
}

}  // namespace rrhf::model
