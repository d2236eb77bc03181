// Products of small matrices, held in registers. Part of cpu_kernels_impl.h.

#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/cpu_vector_impl.h"

namespace rrhf::model::cpu::RRHF_ISA {
namespace {

// A block of M rows of c and N registers of columns, held in registers over all of k.
template <class T, int Bytes, int M, int N>
inline void product_block(Strided<T> a, const T* b, I b_row_stride, T* c, I c_row_stride, I k, bool accumulate) {
  using Vector = typename VectorOf<T, Bytes>::type;
  constexpr I lanes = Bytes / sizeof(T);
  Vector sum[M][N] = {};
  for (I step = 0; step < k; ++step, b += b_row_stride) {
    Vector right[N];
    for (int j = 0; j < N; ++j) right[j] = *reinterpret_cast<const Vector*>(b + j * lanes);
    for (int i = 0; i < M; ++i) {
      const T left = a.data[i * a.row_stride + step * a.column_stride];
      for (int j = 0; j < N; ++j) sum[i][j] += left * right[j];
    }
  }
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) {
      Vector* out = reinterpret_cast<Vector*>(c + i * c_row_stride + j * lanes);
      *out = accumulate ? *out + sum[i][j] : sum[i][j];
    }
  }
}

// All rows of N registers of columns.
template <class T, int Bytes, int N>
void product_columns(Strided<T> a, const T* b, I b_row_stride, T* c, I c_row_stride, I m, I k, bool accumulate) {
  constexpr int M = RRHF_VECTOR_BYTES == 64 ? 8 : 4;  // as many sums as the registers hold
  I i = 0;
  for (; i + M <= m; i += M) {
    product_block<T, Bytes, M, N>({a.data + i * a.row_stride, a.row_stride, a.column_stride}, b, b_row_stride,
                                  c + i * c_row_stride, c_row_stride, k, accumulate);
  }
  for (; i < m; ++i) {
    product_block<T, Bytes, 1, N>({a.data + i * a.row_stride, a.row_stride, a.column_stride}, b, b_row_stride,
                                  c + i * c_row_stride, c_row_stride, k, accumulate);
  }
}

// Columns from j on that fill registers of Bytes, then what is left in narrower ones, down to one element.
template <class T, int Bytes>
void product_rest(Strided<T> a, const T* b, I b_row_stride, T* c, I c_row_stride, I m, I k, I n, bool accumulate, I j) {
  constexpr I lanes = Bytes / sizeof(T);
  for (; j + lanes <= n; j += lanes) {
    product_columns<T, Bytes, 1>(a, b + j, b_row_stride, c + j, c_row_stride, m, k, accumulate);
  }
  if constexpr (lanes > 1) product_rest<T, Bytes / 2>(a, b, b_row_stride, c, c_row_stride, m, k, n, accumulate, j);
}

template <class T>
void small_product(Strided<T> a, const T* b, I b_row_stride, T* c, I c_row_stride, I m, I k, I n, bool accumulate) {
  constexpr int bytes = RRHF_VECTOR_BYTES;
  constexpr I lanes = bytes / sizeof(T);
  I j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes) {
    product_columns<T, bytes, 2>(a, b + j, b_row_stride, c + j, c_row_stride, m, k, accumulate);
  }
  product_rest<T, bytes>(a, b, b_row_stride, c, c_row_stride, m, k, n, accumulate, j);
}

}  // namespace
}  // namespace rrhf::model::cpu::RRHF_ISA
