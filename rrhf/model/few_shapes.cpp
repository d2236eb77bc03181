#include "rrhf/model/few_shapes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>

namespace rrhf::model::few_shapes {
namespace {

constexpr std::int64_t row_multiple = 128;
static_assert(most_rows % row_multiple == 0);

// Calls visit(first row, rows) for runs of at most `most_rows` rows.
template <class F>
void for_runs(std::int64_t rows, F&& visit) {
  for (std::int64_t begin = 0; begin < rows; begin += most_rows) visit(begin, std::min(most_rows, rows - begin));
}

}  // namespace

bool wanted(const at::Tensor& x) {
  return x.is_cpu() && (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf);
}

std::int64_t filled(std::int64_t rows) {
  if (rows < row_multiple) return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(rows)));
  return (rows + row_multiple - 1) / row_multiple * row_multiple;
}

std::int64_t whole_within(std::int64_t rows) {
  if (rows < row_multiple) return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(rows)));
  return rows / row_multiple * row_multiple;
}

std::int64_t count_within(std::int64_t rows) { return (std::min(rows, most_rows) + row_multiple - 1) / row_multiple; }

at::Tensor filled_rows(const at::Tensor& x_TI, at::ScalarType dtype) {
  const std::int64_t rows = x_TI.size(0), whole = filled(rows);
  if (whole == rows) return x_TI.to(dtype);
  at::Tensor result = at::empty({whole, x_TI.size(1)}, x_TI.options().dtype(dtype));
  result.narrow(0, 0, rows).copy_(x_TI);
  result.narrow(0, rows, whole - rows).zero_();
  return result;
}

void product(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& out_TO) {
  for_runs(a_TI.size(0), [&](std::int64_t begin, std::int64_t rows) {
    const at::Tensor a = filled_rows(a_TI.narrow(0, begin, rows), a_TI.scalar_type());
    at::Tensor out = out_TO.narrow(0, begin, rows);
    if (a.size(0) == rows && out.scalar_type() == a.scalar_type()) {
      at::mm_out(out, a, b_IO);
    } else {
      out.copy_(at::mm(a, b_IO).narrow(0, 0, rows));
    }
  });
}

void add_product_over_rows(const at::Tensor& a_TO, const at::Tensor& b_TI, at::Tensor& sum_OI) {
  for_runs(a_TO.size(0), [&](std::int64_t begin, std::int64_t rows) {
    const at::Tensor a = filled_rows(a_TO.narrow(0, begin, rows), a_TO.scalar_type());
    const at::Tensor b = filled_rows(b_TI.narrow(0, begin, rows), b_TI.scalar_type());
    sum_OI.add_(at::mm(a.t(), b));
  });
}

}  // namespace rrhf::model::few_shapes
