// Gradient clipping by global norm, as torch.nn.utils.clip_grad_norm_ does it.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace rrhf::optim {

/// The sum of the squares of all elements of contiguous tensors, in double: sums over ranks add up.
double sum_of_squares(const std::vector<at::Tensor>& tensors);
/// The same of one tensor, as a scalar tensor on its device, so that a GPU is not waited for. Undefined for a tensor
/// without elements.
at::Tensor squares_of(const at::Tensor& tensor);

/// The 2-norm over all gradients.
double global_norm(const std::vector<at::Tensor>& gradients);

/// What gradients of that norm count: max_norm / (norm + 1e-6) where that is below 1, else 1. `max_norm` 0 means no
/// clipping.
double clip_factor(double norm, double max_norm);

}  // namespace rrhf::optim
