// Registers of any width, and what several loops do with rows. Part of cpu_kernels_impl.h.
#pragma once

#include <cstdint>

namespace rrhf::model::cpu::RRHF_ISA {
namespace {

using I = std::int64_t;

// A register of Bytes filled with T, loadable from any address.
template <class T, int Bytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
};

template <class T>
inline T row_max(const T* x, I columns) {
  T most = x[0];
#pragma omp simd reduction(max : most)
  for (I j = 0; j < columns; ++j) most = x[j] > most ? x[j] : most;
  return most;
}

}  // namespace
}  // namespace rrhf::model::cpu::RRHF_ISA
