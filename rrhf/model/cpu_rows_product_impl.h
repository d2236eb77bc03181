// Products of rows with a large weight matrix, each output a sum of its own. Part of cpu_kernels_impl.h.
//
// An output is one register of partial sums over k, its lanes added by halves; a new one is begun every product_depth
// inputs. That order is the same whether a block of rows or a single one is computed, so a row's outputs do not depend
// on the rows beside it. A weight comes from memory once for up to product_rows rows, and while they are computed the
// next weights are fetched.

#include <utility>

#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/cpu_vector_impl.h"

namespace rrhf::model::cpu::RRHF_ISA {
namespace {

constexpr I product_depth = 1024;  // decides the order of sums
constexpr I product_rows = 64;     // rows whose inputs stay in the second cache
constexpr int block_outputs = 4;
constexpr int block_rows = RRHF_VECTOR_BYTES == 64 ? 4 : 2;  // as many sums as the registers hold

template <class T>
constexpr int register_lanes = RRHF_VECTOR_BYTES / sizeof(T);

template <class T>
using Register = typename VectorOf<T, RRHF_VECTOR_BYTES>::type;

// Registers hold runs of 2 * Half lanes that are still to be summed. Adds the halves of each run: the runs of `a`, then
// those of `b`, Half lanes each.
template <class T, int Half, int... Lane>
inline Register<T> fold_lanes(Register<T> a, Register<T> b, std::integer_sequence<int, Lane...>) {
  // Lane l of the result lies in run l / Half, whose halves begin 2 * Half apart.
  return __builtin_shufflevector(a, b, (Lane / Half * 2 * Half + Lane % Half)...) +
         __builtin_shufflevector(a, b, (Lane / Half * 2 * Half + Lane % Half + Half)...);
}

template <class T, int Half>
inline Register<T> fold(Register<T> a, Register<T> b) {
  return fold_lanes<T, Half>(a, b, std::make_integer_sequence<int, register_lanes<T>>());
}

// The sums of Count registers' lanes as the first lanes of one, given runs of 2 * Half lanes. Count: a power of two, at
// most the number of lanes.
template <class T, int Count, int Half>
inline Register<T> lane_sums(const Register<T>* x) {
  if constexpr (Half == 0) {
    return x[0];
  } else if constexpr (Count == 1) {
    const Register<T> folded = fold<T, Half>(x[0], x[0]);
    return lane_sums<T, 1, Half / 2>(&folded);
  } else {
    Register<T> folded[Count / 2];
    for (int i = 0; i < Count / 2; ++i) folded[i] = fold<T, Half>(x[2 * i], x[2 * i + 1]);
    return lane_sums<T, Count / 2, Half / 2>(folded);
  }
}

// The weights that are needed next: `lines` cache lines are asked for with each register of inputs.
template <class T>
struct Ahead {
  const T* next;
  I step;  // elements from one line asked for to the next
};

// Fewer elements than a register holds, and zeros.
template <class T>
inline Register<T> filled_up(const T* x, I count) {
  T lanes[register_lanes<T>] = {};
  for (I i = 0; i < count; ++i) lanes[i] = x[i];
  return *reinterpret_cast<const Register<T>*>(lanes);
}

// M rows times N outputs over `depth` inputs.
template <class T, int M, int N, int Lines>
inline void output_block(const T* x, I x_stride, const T* w, I w_stride, T* y, I y_stride, I depth, bool accumulate,
                         Ahead<T> ahead) {
  constexpr int lanes = register_lanes<T>, count = M * N, group = count < lanes ? count : lanes;
  Register<T> sum[count] = {};
  I k = 0;
  for (; k + lanes <= depth; k += lanes) {
    for (int line = 0; line < Lines; ++line, ahead.next += ahead.step) __builtin_prefetch(ahead.next, 0, 2);
    Register<T> weight[N];
    for (int j = 0; j < N; ++j) weight[j] = *reinterpret_cast<const Register<T>*>(w + j * w_stride + k);
    for (int i = 0; i < M; ++i) {
      const Register<T> input = *reinterpret_cast<const Register<T>*>(x + i * x_stride + k);
      for (int j = 0; j < N; ++j) sum[i * N + j] += input * weight[j];
    }
  }
  if (k < depth) {
    for (int i = 0; i < M; ++i) {
      const Register<T> input = filled_up(x + i * x_stride + k, depth - k);
      for (int j = 0; j < N; ++j) sum[i * N + j] += input * filled_up(w + j * w_stride + k, depth - k);
    }
  }
  T total[count + lanes];
  for (int i = 0; i < count; i += group) {
    *reinterpret_cast<Register<T>*>(total + i) = lane_sums<T, group, lanes / 2>(sum + i);
  }
  for (int i = 0; i < M; ++i, y += y_stride) {
    for (int j = 0; j < N; ++j) y[j] = accumulate ? y[j] + total[i * N + j] : total[i * N + j];
  }
}

// All rows times N outputs.
template <class T, int N>
inline void output_panel(const T* x, I x_stride, const T* w, T* y, I y_stride, I rows, I k, bool accumulate) {
  const I blocks = (rows + block_rows - 1) / block_rows;
  for (I begin = 0; begin < k; begin += product_depth) {
    const I depth = k - begin < product_depth ? k - begin : product_depth;
    const bool add = accumulate || begin > 0;
    // Shared out over the blocks: the same inputs of the next outputs' weights.
    Ahead<T> ahead{w + N * k + begin * N, N * register_lanes<T> / blocks};
    I i = 0;
    for (; i + block_rows <= rows; i += block_rows, ahead.next += depth * N / blocks) {
      output_block<T, block_rows, N, 1>(x + i * x_stride + begin, x_stride, w + begin, k, y + i * y_stride, y_stride,
                                        depth, add, ahead);
    }
    for (; i < rows; ++i) {
      if (rows == 1) {
        output_block<T, 1, N, N>(x + begin, x_stride, w + begin, k, y, y_stride, depth, add,
                                 {ahead.next, register_lanes<T>});
      } else {
        output_block<T, 1, N, 1>(x + i * x_stride + begin, x_stride, w + begin, k, y + i * y_stride, y_stride, depth,
                                 add, ahead);
      }
    }
  }
}

template <class T>
void rows_product(const T* x, I x_stride, const T* w, T* y, I y_stride, I rows, I k, I outputs, bool accumulate) {
  for (I first = 0; first < rows; first += product_rows, x += product_rows * x_stride, y += product_rows * y_stride) {
    const I count = rows - first < product_rows ? rows - first : product_rows;
    I o = 0;
    for (; o + block_outputs <= outputs; o += block_outputs) {
      output_panel<T, block_outputs>(x, x_stride, w + o * k, y + o, y_stride, count, k, accumulate);
    }
    for (; o < outputs; ++o) output_panel<T, 1>(x, x_stride, w + o * k, y + o, y_stride, count, k, accumulate);
  }
}

}  // namespace
}  // namespace rrhf::model::cpu::RRHF_ISA
