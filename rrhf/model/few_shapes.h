// Products of bfloat16 and float16 matrices on the CPU, in few shapes.
//
// oneDNN, through which ATen takes them, compiles kernels for each shape and keeps them: hundreds of kilobytes a shape,
// over a gigabyte after a hundred packs, no two of which have the same number of rows. So rows are taken 1024 at a time
// and the last ones filled up with zeros, to a multiple of 128 or, below it, a power of two.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace rrhf::model::few_shapes {

inline constexpr std::int64_t most_rows = 1024;  ///< of one product

/// True where products are to be taken here: for bfloat16 and float16 on the CPU.
bool wanted(const at::Tensor& x);

/// `rows` and those that fill them up.
std::int64_t filled(std::int64_t rows);

/// The most rows, from 1 to `rows`, that need none to fill them up.
std::int64_t whole_within(std::int64_t rows);

/// How many numbers of rows, of those that are multiples of 128, products of up to `rows` rows come in.
std::int64_t count_within(std::int64_t rows);

/// x in `dtype`, filled up with rows of zeros; no copy where nothing changes.
at::Tensor filled_rows(const at::Tensor& x_TI, at::ScalarType dtype);

/// a b, into rows of any dtype.
void product(const at::Tensor& a_TI, const at::Tensor& b_IO, const at::Tensor& out_TO);

/// `sum_OI` += a^T b. Each product of 1024 rows is rounded to the matrices' dtype before it is added.
void add_product_over_rows(const at::Tensor& a_TO, const at::Tensor& b_TI, at::Tensor& sum_OI);

}  // namespace rrhf::model::few_shapes
