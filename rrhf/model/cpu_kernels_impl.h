// The loops of cpu_kernels.h. Included by one source file for each instruction set, which sets
//   RRHF_ISA           the name of the set, also that of the namespace
//   RRHF_VECTOR_BYTES  the width of a register
// Nothing from the standard library is called: an inline function compiled here for one instruction set could be
// merged with its namesake elsewhere and run on a machine that lacks it.

#include "rrhf/model/cpu_exponential_impl.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/cpu_paged_attention_impl.h"
#include "rrhf/model/cpu_rows_product_impl.h"
#include "rrhf/model/cpu_small_product_impl.h"
#include "rrhf/model/cpu_vector_impl.h"

namespace rrhf::model::cpu::RRHF_ISA {
namespace {

template <class T>
inline T inverse_root(T x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return T(1) / __builtin_sqrtf(x);
  } else {
    return T(1) / __builtin_sqrt(x);
  }
}

template <class T>
inline T logarithm(T x) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return __builtin_logf(x);
  } else {
    return __builtin_log(x);
  }
}

template <class T>
void rms_norm(const T* x, const T* residual, const T* weight, T* sum, T* y, T* inverse, I rows, I width,
              double epsilon) {
  for (I i = 0; i < rows; ++i, x += width, y += width) {
    const T* row = x;
    T squares = 0;
    if (residual != nullptr) {
#pragma omp simd reduction(+ : squares)
      for (I j = 0; j < width; ++j) {
        const T s = x[j] + residual[j];
        sum[j] = s;
        squares += s * s;
      }
      row = sum;
      residual += width;
      sum += width;
    } else {
#pragma omp simd reduction(+ : squares)
      for (I j = 0; j < width; ++j) squares += row[j] * row[j];
    }
    const T inv = inverse_root<T>(squares / static_cast<T>(width) + static_cast<T>(epsilon));
    inverse[i] = inv;
#pragma omp simd
    for (I j = 0; j < width; ++j) y[j] = row[j] * inv * weight[j];
  }
}

template <class T>
void rms_norm_again(const T* x, const T* inverse, const T* weight, T* y, I rows, I width) {
  for (I i = 0; i < rows; ++i, x += width, y += width) {
    const T inv = inverse[i];
#pragma omp simd
    for (I j = 0; j < width; ++j) y[j] = x[j] * inv * weight[j];
  }
}

template <class T>
void rms_norm_backward(const T* dy, const T* x, const T* inverse, const T* weight, const T* residual, T* dx,
                       T* weight_gradient, I rows, I width) {
  for (I i = 0; i < rows; ++i, dy += width, x += width, dx += width) {
    const T inv = inverse[i];
    T along = 0;
#pragma omp simd reduction(+ : along)
    for (I j = 0; j < width; ++j) {
      const T normed = x[j] * inv;
      along += dy[j] * weight[j] * normed;
      weight_gradient[j] += dy[j] * normed;
    }
    along /= static_cast<T>(width);
    if (residual != nullptr) {
#pragma omp simd
      for (I j = 0; j < width; ++j) dx[j] = (dy[j] * weight[j] - x[j] * inv * along) * inv + residual[j];
      residual += width;
    } else {
#pragma omp simd
      for (I j = 0; j < width; ++j) dx[j] = (dy[j] * weight[j] - x[j] * inv * along) * inv;
    }
  }
}

template <class T>
void rotate(T* x, I row_stride, const T* cos, const T* sin, I rows, I heads, I half, T sign) {
  for (I i = 0; i < rows; ++i, x += row_stride, cos += half, sin += half) {
    for (I head = 0; head < heads; ++head) {
      T* first = x + head * 2 * half;
      T* second = first + half;
#pragma omp simd
      for (I j = 0; j < half; ++j) {
        const T a = first[j], b = second[j], s = sign * sin[j];
        first[j] = a * cos[j] - b * s;
        second[j] = b * cos[j] + a * s;
      }
    }
  }
}

template <class T>
void swiglu(const T* gate_up, T* y, I rows, I f) {
  for (I i = 0; i < rows; ++i, gate_up += 2 * f, y += f) {
    const T *gate = gate_up, *up = gate_up + f;
#pragma omp simd
    for (I j = 0; j < f; ++j) y[j] = gate[j] / (T(1) + exponential<T>(-gate[j])) * up[j];
  }
}

template <class T>
void swiglu_backward(T* gate_up, T* dy, I rows, I f) {
  for (I i = 0; i < rows; ++i, gate_up += 2 * f, dy += f) {
    T *gate = gate_up, *up = gate_up + f;
#pragma omp simd
    for (I j = 0; j < f; ++j) {
      const T g = gate[j], u = up[j], d = dy[j];
      const T sigmoid = T(1) / (T(1) + exponential<T>(-g));
      const T silu = g * sigmoid;
      gate[j] = d * u * (sigmoid + silu * (T(1) - sigmoid));
      up[j] = d * silu;
      dy[j] = silu * u;
    }
  }
}

template <class T>
void causal_softmax(T* x, I row_stride, I rows, I first, I columns, T scale, T* normalizer) {
  for (I i = 0; i < rows; ++i, x += row_stride) {
    const I seen = first + i;
    const T most = row_max(x, seen) * scale;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (I j = 0; j < seen; ++j) {
      const T e = exponential<T>(x[j] * scale - most);
      x[j] = e;
      sum += e;
    }
    const T share = T(1) / sum;
    normalizer[i] = most + logarithm<T>(sum);
#pragma omp simd
    for (I j = 0; j < seen; ++j) x[j] *= share;
    for (I j = seen; j < columns; ++j) x[j] = 0;
  }
}

template <class T>
void causal_softmax_again(T* x, I row_stride, I rows, I first, I columns, T scale, const T* normalizer) {
  for (I i = 0; i < rows; ++i, x += row_stride) {
    const I seen = first + i;
    const T shift = normalizer[i];
#pragma omp simd
    for (I j = 0; j < seen; ++j) x[j] = exponential<T>(x[j] * scale - shift);
    for (I j = seen; j < columns; ++j) x[j] = 0;
  }
}

template <class T>
void softmax_backward(T* dx, const T* p, I row_stride, I rows, I columns, T scale) {
  for (I i = 0; i < rows; ++i, dx += row_stride, p += row_stride) {
    T along = 0;
#pragma omp simd reduction(+ : along)
    for (I j = 0; j < columns; ++j) along += dx[j] * p[j];
#pragma omp simd
    for (I j = 0; j < columns; ++j) dx[j] = p[j] * (dx[j] - along) * scale;
  }
}

template <class T>
void log_normalizers(T* x, I row_stride, I rows, I columns, T* normalizer, bool exponentiate) {
  for (I i = 0; i < rows; ++i, x += row_stride) {
    const T most = row_max(x, columns);
    T sum = 0;
    if (!exponentiate) {
#pragma omp simd reduction(+ : sum)
      for (I j = 0; j < columns; ++j) sum += exponential<T>(x[j] - most);
      normalizer[i] = most + logarithm<T>(sum);
      continue;
    }
#pragma omp simd reduction(+ : sum)
    for (I j = 0; j < columns; ++j) {
      const T e = exponential<T>(x[j] - most);
      x[j] = e;
      sum += e;
    }
    normalizer[i] = most + logarithm<T>(sum);
    const T share = T(1) / sum;
#pragma omp simd
    for (I j = 0; j < columns; ++j) x[j] *= share;
  }
}

template <class T>
void scaled_probabilities(T* x, I row_stride, I rows, I columns, const T* normalizer, const T* factor) {
  for (I i = 0; i < rows; ++i, x += row_stride) {
    const T shift = normalizer[i], by = factor[i];
#pragma omp simd
    for (I j = 0; j < columns; ++j) x[j] = exponential<T>(x[j] - shift) * by;
  }
}

template <class T>
void scale_rows(T* x, I row_stride, I rows, I columns, const T* factor) {
  for (I i = 0; i < rows; ++i, x += row_stride) {
    const T by = factor[i];
#pragma omp simd
    for (I j = 0; j < columns; ++j) x[j] *= by;
  }
}

#define RRHF_NAME_OF(isa) #isa
#define RRHF_NAME(isa) RRHF_NAME_OF(isa)

template <class T>
constexpr Kernels<T> table = {RRHF_NAME(RRHF_ISA),  rms_norm<T>,        rms_norm_again<T>,
                              rms_norm_backward<T>, rotate<T>,          swiglu<T>,
                              swiglu_backward<T>,   causal_softmax<T>,  causal_softmax_again<T>,
                              softmax_backward<T>,  log_normalizers<T>, scaled_probabilities<T>,
                              scale_rows<T>,        small_product<T>,   rows_product<T>,
                              attend_pages<T>};

#undef RRHF_NAME
#undef RRHF_NAME_OF

}  // namespace

const Kernels<float>& float_kernels() { return table<float>; }
const Kernels<double>& double_kernels() { return table<double>; }

}  // namespace rrhf::model::cpu::RRHF_ISA
