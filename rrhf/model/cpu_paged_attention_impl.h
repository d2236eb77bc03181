// Attention of one position over the pages of its sequence. Part of cpu_kernels_impl.h.
//
// A page's keys lie dimension by dimension, 16 positions each, so that scores are sums over registers of positions and
// no lanes are added; values lie position by position. Nothing beyond the sequence's length reaches a result.

#include "rrhf/model/cpu_exponential_impl.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/cpu_vector_impl.h"

namespace rrhf::model::cpu::RRHF_ISA {
namespace {

constexpr I page_positions = 16;

// The scores of a page's positions for one query head. Four sums in turn, since each waits for its last addition.
template <class T>
inline void page_scores(const T* query, const T* keys, I width, T* scores) {
  using Positions = typename VectorOf<T, page_positions * sizeof(T)>::type;
  const auto* key = reinterpret_cast<const Positions*>(keys);
  Positions a = {}, b = {}, c = {}, d = {};
  I j = 0;
  for (; j + 4 <= width; j += 4) {
    a += query[j] * key[j];
    b += query[j + 1] * key[j + 1];
    c += query[j + 2] * key[j + 2];
    d += query[j + 3] * key[j + 3];
  }
  for (; j < width; ++j) a += query[j] * key[j];
  *reinterpret_cast<Positions*>(scores) = (a + b) + (c + d);
}

template <class T>
inline void softmax_scores(T* scores, I length, T scale) {
  const T most = row_max(scores, length) * scale;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (I i = 0; i < length; ++i) {
    const T e = exponential<T>(scores[i] * scale - most);
    scores[i] = e;
    sum += e;
  }
  const T share = T(1) / sum;
#pragma omp simd
  for (I i = 0; i < length; ++i) scores[i] *= share;
}

// Columns of N registers of Bytes of the values' weighted sum.
template <class T, int Bytes, int N>
inline void value_columns(const T* p, const PagedHead<T>& head, I length, I width, I column, T* out) {
  using Vector = typename VectorOf<T, Bytes>::type;
  constexpr I lanes = Bytes / sizeof(T);
  Vector sum[N] = {};
  for (I page = 0, begin = 0; begin < length; ++page, begin += page_positions) {
    const T* value = head.values + head.pages[page] * head.page_stride + column;
    const I count = length - begin < page_positions ? length - begin : page_positions;
    for (I i = 0; i < count; ++i, value += width) {
      for (int j = 0; j < N; ++j) sum[j] += p[begin + i] * *reinterpret_cast<const Vector*>(value + j * lanes);
    }
  }
  for (int j = 0; j < N; ++j) *reinterpret_cast<Vector*>(out + column + j * lanes) = sum[j];
}

// Columns from `column` on, in registers of Bytes, then what is left in narrower ones.
template <class T, int Bytes>
inline void value_sums(const T* p, const PagedHead<T>& head, I length, I width, I column, T* out) {
  constexpr I lanes = Bytes / sizeof(T);
  for (; column + 4 * lanes <= width; column += 4 * lanes) {
    value_columns<T, Bytes, 4>(p, head, length, width, column, out);
  }
  for (; column + lanes <= width; column += lanes) value_columns<T, Bytes, 1>(p, head, length, width, column, out);
  if constexpr (lanes > 1) value_sums<T, Bytes / 2>(p, head, length, width, column, out);
}

template <class T>
void attend_pages(const T* queries, I group, I width, PagedHead<T> head, I length, T scale, T* scores, T* out) {
  const I pages = (length + page_positions - 1) / page_positions, stride = pages * page_positions;
  for (I page = 0; page < pages; ++page) {
    const T* keys = head.keys + head.pages[page] * head.page_stride;
    for (I g = 0; g < group; ++g) {
      page_scores(queries + g * width, keys, width, scores + g * stride + page * page_positions);
    }
  }
  for (I g = 0; g < group; ++g) {
    softmax_scores(scores + g * stride, length, scale);
    value_sums<T, RRHF_VECTOR_BYTES>(scores + g * stride, head, length, width, 0, out + g * width);
  }
}

}  // namespace
}  // namespace rrhf::model::cpu::RRHF_ISA
