// The loops of cpu_kernels.h. Included by one source file for each instruction set, which sets
//   RRHF_ISA           the name of the set, also that of the namespace
//   RRHF_VECTOR_BYTES  the width of a register
// Nothing from the standard library is called: an inline function compiled here for one instruction set could be
// merged with its namesake elsewhere and run on a machine that lacks it.

#include "rrhf/model/cpu_kernels.h"

namespace rrhf::model::cpu::RRHF_ISA {
namespace {

using I = std::int64_t;

template <class T>
struct Exponential;

// exp(x) = 2^n exp(r), |r| <= ln(2)/2, by Taylor's series: the first term left out is below half a unit in the last
// place. x is clamped so that 2^n is a normal number. Adding `magic` rounds to the nearest integer, which then stands
// in the low bits. A NaN stays one.
template <>
struct Exponential<float> {
  using Bits = std::int32_t;
  static constexpr float least = -87.0f, most = 88.0f;
  static constexpr float log2e = 1.44269504088896341f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr int mantissa_bits = 23;
  static inline float series(float r) {
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    return p * r + 1.0f;
  }
};

template <>
struct Exponential<double> {
  using Bits = std::int64_t;
  static constexpr double least = -708.0, most = 709.0;
  static constexpr double log2e = 1.4426950408889634074, ln2_high = 0.693145751953125,
                          ln2_low = 1.42860682030941723212e-6;
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int mantissa_bits = 52;
  static inline double series(double r) {
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    return p * r + 1.0;
  }
};

template <class T>
inline T exponential(T x) {
  using E = Exponential<T>;
  using Bits = typename E::Bits;
  x = x < E::least ? E::least : x;
  x = x > E::most ? E::most : x;
  const T shifted = x * E::log2e + E::magic;
  const T n = shifted - E::magic;
  const T r = (x - n * E::ln2_high) - n * E::ln2_low;
  const Bits power = __builtin_bit_cast(Bits, shifted) << E::mantissa_bits;
  return __builtin_bit_cast(T, __builtin_bit_cast(Bits, E::series(r)) + power);
}

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
inline T row_max(const T* x, I columns) {
  T most = x[0];
#pragma omp simd reduction(max : most)
  for (I j = 0; j < columns; ++j) most = x[j] > most ? x[j] : most;
  return most;
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

// A register of Bytes filled with T, loadable from any address.
template <class T, int Bytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
};

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

#define RRHF_NAME_OF(isa) #isa
#define RRHF_NAME(isa) RRHF_NAME_OF(isa)

template <class T>
constexpr Kernels<T> table = {RRHF_NAME(RRHF_ISA),  rms_norm<T>,        rms_norm_again<T>,
                              rms_norm_backward<T>, rotate<T>,          swiglu<T>,
                              swiglu_backward<T>,   causal_softmax<T>,  causal_softmax_again<T>,
                              softmax_backward<T>,  log_normalizers<T>, scaled_probabilities<T>,
                              scale_rows<T>,        small_product<T>};

#undef RRHF_NAME
#undef RRHF_NAME_OF

}  // namespace

const Kernels<float>& float_kernels() { return table<float>; }
const Kernels<double>& double_kernels() { return table<double>; }

}  // namespace rrhf::model::cpu::RRHF_ISA
