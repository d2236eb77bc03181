// From tensors to the launchers of cuda_kernels.h. Needs CUDA's headers: for cuda_*.cpp alone.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>

#include "rrhf/model/cuda_kernels.h"

namespace rrhf::model::cuda {

inline bool has_element(at::ScalarType type) {
  return type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
}

/// Of a tensor that has_element() is true for.
inline Element element_of(const at::Tensor& x) {
  if (x.scalar_type() == at::kBFloat16) return Element::bfloat16;
  return x.scalar_type() == at::kHalf ? Element::float16 : Element::float32;
}

/// The current stream of the tensor's device.
inline Stream stream_of(const at::Tensor& x) { return c10::cuda::getCurrentCUDAStream(x.device().index()).stream(); }

/// A call over the rows of x.
inline Rows rows_of(const at::Tensor& x) { return {element_of(x), x.size(0), stream_of(x)}; }

}  // namespace rrhf::model::cuda
