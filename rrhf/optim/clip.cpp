#include "rrhf/optim/clip.h"

#include <ATen/ATen.h>

#include <cmath>

namespace rrhf::optim {

double global_norm(const std::vector<at::Tensor>& gradients) {
  double sum = 0;
  for (const at::Tensor& gradient : gradients) {
    const double norm = at::linalg_vector_norm(gradient).item<double>();
    sum += norm * norm;
  }
  return std::sqrt(sum);
}

void clip_by_norm(std::vector<at::Tensor>& gradients, double norm, double max_norm) {
  const double scale = max_norm / (norm + 1e-6);
  if (max_norm == 0 || !(scale < 1)) return;
  for (at::Tensor& gradient : gradients) gradient.mul_(scale);
}

}  // namespace rrhf::optim
