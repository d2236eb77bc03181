// From tensors to the CPU's loops (cpu_kernels.h): which tensors they take, and at which element type.
#pragma once

#include <ATen/core/Tensor.h>

namespace rrhf::model {

/// True for float32 and float64 on the CPU whose rows are runs of elements; the rows themselves may stand apart.
inline bool has_kernels(const at::Tensor& x) {
  return x.is_cpu() && x.stride(-1) == 1 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

/// Calls visit with a value of the tensor's element type, float or double.
template <class F>
void with_element(const at::Tensor& x, F&& visit) {
  x.scalar_type() == at::kFloat ? visit(float{}) : visit(double{});
}

}  // namespace rrhf::model
