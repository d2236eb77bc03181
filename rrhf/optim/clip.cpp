#include "rrhf/optim/clip.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>

namespace rrhf::optim {

namespace {

// Summed up to here in float32 or the tensor's own dtype: a float32 sum over millions loses its last digits.
constexpr std::int64_t row_size = 4096;

// The norm of each row, or, for a vector, its own.
at::Tensor squares(const at::Tensor& tensor) {
  const bool narrow = tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf;
  const auto type = narrow ? std::optional(at::kFloat) : std::nullopt;
  return at::linalg_vector_norm(tensor, 2, at::IntArrayRef{tensor.dim() - 1}, false, type)
      .to(at::kDouble)
      .square()
      .sum();
}

}  // namespace

at::Tensor squares_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.view({-1});
  const std::int64_t rows = flat.numel() / row_size, rest = flat.numel() - rows * row_size;
  at::Tensor sum;
  if (rows > 0) sum = squares(flat.narrow(0, 0, rows * row_size).view({rows, row_size}));
  if (rest > 0) {
    const at::Tensor last = squares(flat.narrow(0, rows * row_size, rest));
    sum = sum.defined() ? sum + last : last;
  }
  return sum;
}

double sum_of_squares(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> sums;  // where the tensors are: a GPU is waited for once
  for (const at::Tensor& tensor : tensors) {
    if (tensor.numel() > 0) sums.push_back(squares_of(tensor));
  }
  return sums.empty() ? 0 : at::stack(sums).sum().item<double>();
}

double global_norm(const std::vector<at::Tensor>& gradients) { return std::sqrt(sum_of_squares(gradients)); }

double clip_factor(double norm, double max_norm) {
  const double scale = max_norm / (norm + 1e-6);
  return max_norm == 0 || !(scale < 1) ? 1 : scale;
}

}  // namespace rrhf::optim
