#include "rrhf/optim/clip.h"

#include <ATen/ATen.h>

#include <cmath>

namespace rrhf::optim {

namespace {

// Summed up to here in the tensor's own dtype: a float32 sum over millions loses its last digits.
constexpr std::int64_t row_size = 4096;

double squares(const at::Tensor& norms) { return norms.to(at::kDouble).square().sum().item<double>(); }

}  // namespace

double sum_of_squares(const std::vector<at::Tensor>& tensors) {
  double sum = 0;
  for (const at::Tensor& tensor : tensors) {
    const at::Tensor flat = tensor.view({-1});
    const std::int64_t rows = flat.numel() / row_size, rest = flat.numel() - rows * row_size;
    if (rows > 0) {
      const at::Tensor matrix = flat.narrow(0, 0, rows * row_size).view({rows, row_size});
      sum += squares(at::linalg_vector_norm(matrix, 2, at::IntArrayRef{1}));
    }
    if (rest > 0) sum += squares(at::linalg_vector_norm(flat.narrow(0, rows * row_size, rest)));
  }
  return sum;
}

double global_norm(const std::vector<at::Tensor>& gradients) { return std::sqrt(sum_of_squares(gradients)); }

void clip_by_norm(std::vector<at::Tensor>& gradients, double norm, double max_norm) {
  const double scale = max_norm / (norm + 1e-6);
  if (max_norm == 0 || !(scale < 1)) return;
  for (at::Tensor& gradient : gradients) gradient.mul_(scale);
}

}  // namespace rrhf::optim
