// Loops over rows for the CPU, compiled for several instruction sets and chosen at run time.
//
// Each does in one pass over memory what takes several with one ATen call an operation. All are single-threaded and
// work on whole rows, so that the caller shares rows out among threads; the result of a row never depends on which
// others are computed with it. Pointers must not overlap unless said otherwise. Row-major; a row stride is in elements.
#pragma once

#include <cstdint>

namespace rrhf::model::cpu {

/// A matrix operand read element by element: element (i, j) is data[i * row_stride + j * column_stride].
template <class T>
struct Strided {
  const T* data;
  std::int64_t row_stride;
  std::int64_t column_stride;
};

/// The keys and values of one head of one layer in a paged cache (kv_cache.h).
template <class T>
struct PagedHead {
  const T* keys;              ///< of page 0: [width, 16]
  const T* values;            ///< of page 0: [16, width]
  std::int64_t page_stride;   ///< elements from a page to the next, of both
  const std::int32_t* pages;  ///< of the sequence, in order
};

/// The loops of one instruction set. D, F, V: widths as in weights.h; H: head_dim / 2.
template <class T>
struct Kernels {
  const char* name;

  /// sum = x + residual (left out when `residual` is null: x itself), inverse = 1/sqrt(mean(sum^2) + epsilon),
  /// y = sum * inverse * weight. `sum` may be x or residual, or null.
  void (*rms_norm)(const T* x, const T* residual, const T* weight, T* sum, T* y, T* inverse, std::int64_t rows,
                   std::int64_t width, double epsilon);

  /// y = x * inverse * weight, with the inverse of each row given.
  void (*rms_norm_again)(const T* x, const T* inverse, const T* weight, T* y, std::int64_t rows, std::int64_t width);

  /// dx = (dy * weight - n * mean(dy * weight * n)) * inverse + residual, n = x * inverse; weight_gradient += sum dy *
  /// n. `residual` may be null or dx.
  void (*rms_norm_backward)(const T* dy, const T* x, const T* inverse, const T* weight, const T* residual, T* dx,
                            T* weight_gradient, std::int64_t rows, std::int64_t width);

  /// Turns `heads` heads of 2 H elements at the start of each row by the row's angles, or back with sign -1.
  void (*rotate)(T* x, std::int64_t row_stride, const T* cos, const T* sin, std::int64_t rows, std::int64_t heads,
                 std::int64_t half, T sign);

  /// y = silu(gate) * up for rows [gate | up].
  void (*swiglu)(const T* gate_up, T* y, std::int64_t rows, std::int64_t f);

  /// In place: gate_up becomes its gradient, dy becomes silu(gate) * up.
  void (*swiglu_backward)(T* gate_up, T* dy, std::int64_t rows, std::int64_t f);

  /// Row i: normalizer = log sum exp(scale * x) over its first `first + i` columns and x = exp(scale * x - normalizer)
  /// there; 0 in the columns up to `columns`.
  void (*causal_softmax)(T* x, std::int64_t row_stride, std::int64_t rows, std::int64_t first, std::int64_t columns,
                         T scale, T* normalizer);

  /// x = exp(scale * x - normalizer) for the same columns, with the normalizer given.
  void (*causal_softmax_again)(T* x, std::int64_t row_stride, std::int64_t rows, std::int64_t first,
                               std::int64_t columns, T scale, const T* normalizer);

  /// dx = p * (dx - sum(dx * p)) * scale over all columns.
  void (*softmax_backward)(T* dx, const T* p, std::int64_t row_stride, std::int64_t rows, std::int64_t columns,
                           T scale);

  /// The log-normalizers of rows of logits; with `exponentiate` x = exp(x - normalizer) as well.
  void (*log_normalizers)(T* x, std::int64_t row_stride, std::int64_t rows, std::int64_t columns, T* normalizer,
                          bool exponentiate);

  /// x = exp(x - normalizer) * factor.
  void (*scaled_probabilities)(T* x, std::int64_t row_stride, std::int64_t rows, std::int64_t columns,
                               const T* normalizer, const T* factor);

  /// x *= factor of its row.
  void (*scale_rows)(T* x, std::int64_t row_stride, std::int64_t rows, std::int64_t columns, const T* factor);

  /// c = a b, or c += a b with `accumulate`. a: [m, k] in any layout; b: [k, n] and c: [m, n] row-major.
  /// For the small products of attention, which a library call apiece would cost more than they take.
  void (*small_product)(Strided<T> a, const T* b, std::int64_t b_row_stride, T* c, std::int64_t c_row_stride,
                        std::int64_t m, std::int64_t k, std::int64_t n, bool accumulate);

  /// y = x w^T, or y += x w^T with `accumulate`. x: [rows, k], w: [outputs, k] without gaps, y: [rows, outputs]. For
  /// weights that are read once for a few rows; a row's outputs are the same to the last bit whatever rows and outputs
  /// are computed with it.
  void (*rows_product)(const T* x, std::int64_t x_row_stride, const T* w, T* y, std::int64_t y_row_stride,
                       std::int64_t rows, std::int64_t k, std::int64_t outputs, bool accumulate);

  /// The outputs of `group` query heads that share a key/value head, [group, width], of the last of `length` positions.
  /// `scores`: working memory for group * length elements, the length rounded up to whole pages.
  void (*attend_pages)(const T* queries, std::int64_t group, std::int64_t width, PagedHead<T> head, std::int64_t length,
                       T scale, T* scores, T* out);
};

/// The best loops for this machine: "avx512", "avx2" or "baseline". Chosen once; T is float or double.
template <class T>
const Kernels<T>& kernels();

/// Those of one instruction set by name, or null where this machine or build lacks it: for tests.
template <class T>
const Kernels<T>* kernels_named(const char* name);

}  // namespace rrhf::model::cpu
