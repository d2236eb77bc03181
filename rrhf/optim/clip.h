// Gradient clipping by global norm, as torch.nn.utils.clip_grad_norm_ does it.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace rrhf::optim {

/// The sum of the squares of all elements of contiguous tensors, in double: sums over ranks add up.
double sum_of_squares(const std::vector<at::Tensor>& tensors);

/// The 2-norm over all gradients.
double global_norm(const std::vector<at::Tensor>& gradients);

/// Scales the gradients in place by max_norm / (norm + 1e-6) where that is below 1. `max_norm` 0 means no clipping.
void clip_by_norm(std::vector<at::Tensor>& gradients, double norm, double max_norm);

}  // namespace rrhf::optim
