#include "rrhf/optim/clip.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "rrhf/optim/narrow.h"

namespace rrhf::optim {

namespace {

// Summed up to here in float32 or the tensor's own dtype: a float32 sum over millions loses its last digits.
constexpr std::int64_t row_size = 4096;
// So many narrow elements are made wide at once on the CPU, where ATen's norm of them takes them one by one.
constexpr std::int64_t widened_at_once = 256 * row_size;

// The norm of each row, or, for a vector, its own.
at::Tensor squares(const at::Tensor& tensor) {
  const auto type = is_narrow(tensor) ? std::optional(at::kFloat) : std::nullopt;
  return at::linalg_vector_norm(tensor, 2, at::IntArrayRef{tensor.dim() - 1}, false, type)
      .to(at::kDouble)
      .square()
      .sum();
}

}  // namespace

at::Tensor squares_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.view({-1});
  if (flat.is_cpu() && is_narrow(flat) && flat.numel() > 0) {
    at::Tensor sum = at::zeros({}, at::kDouble);
    for (std::int64_t begin = 0; begin < flat.numel(); begin += widened_at_once) {
      const std::int64_t count = std::min(widened_at_once, flat.numel() - begin);
      sum += squares_of(flat.narrow(0, begin, count).to(at::kFloat));
    }
    return sum;
  }
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
