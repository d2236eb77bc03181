// What is done element by element or row by row: rotary embedding, SwiGLU, keys and values to and from their copies.
#include <cstddef>

#include "rrhf/model/cuda_device.cuh"

namespace rrhf::model::cuda {
namespace {

constexpr int threads = 256;

__device__ std::int64_t piece() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

template <class T>
__global__ void rotate_kernel(T* x, std::int64_t stride, const float* cos, const float* sin, std::int64_t pieces,
                              int heads, int half, float sign) {
  constexpr int size = Vector<T>::size;
  const std::int64_t number = piece();
  if (number >= pieces) return;
  const int vectors = half / size;
  const int vector = static_cast<int>(number % vectors), head = static_cast<int>(number / vectors % heads);
  const std::int64_t row = number / vectors / heads;
  T* first_at = x + row * stride + static_cast<std::int64_t>(head) * 2 * half + vector * size;
  Vector<T> first = load(first_at), second = load(first_at + half);
  const float *c = cos + row * half + vector * size, *s = sin + row * half + vector * size;
#pragma unroll
  for (int j = 0; j < size; ++j) {
    const float a = to_float(first.at[j]), b = to_float(second.at[j]), sine = sign * s[j];
    first.at[j] = from_float<T>(a * c[j] - b * sine);
    second.at[j] = from_float<T>(b * c[j] + a * sine);
  }
  store(first_at, first);
  store(first_at + half, second);
}

__device__ float sigmoid(float x) { return 1 / (1 + __expf(-x)); }

template <class T>
__global__ void swiglu_kernel(const T* gate_up, T* y, std::int64_t pieces, int width) {
  constexpr int size = Vector<T>::size;
  const std::int64_t number = piece();
  if (number >= pieces) return;
  const int vectors = width / size;
  const std::int64_t row = number / vectors, column = number % vectors * size;
  const Vector<T> gate = load(gate_up + row * 2 * width + column), up = load(gate_up + (row * 2 + 1) * width + column);
  Vector<T> result;
#pragma unroll
  for (int j = 0; j < size; ++j) {
    const float g = to_float(gate.at[j]);
    result.at[j] = from_float<T>(g * sigmoid(g) * to_float(up.at[j]));
  }
  store(y + row * width + column, result);
}

template <class T>
__global__ void swiglu_backward_kernel(T* gate_up, T* dy, std::int64_t pieces, int width) {
  constexpr int size = Vector<T>::size;
  const std::int64_t number = piece();
  if (number >= pieces) return;
  const int vectors = width / size;
  const std::int64_t row = number / vectors, column = number % vectors * size;
  T *gate_at = gate_up + row * 2 * width + column, *up_at = gate_at + width, *dy_at = dy + row * width + column;
  Vector<T> gate = load(gate_at), up = load(up_at), slope = load(dy_at);
#pragma unroll
  for (int j = 0; j < size; ++j) {
    const float g = to_float(gate.at[j]), u = to_float(up.at[j]), d = to_float(slope.at[j]);
    const float s = sigmoid(g), silu = g * s;
    gate.at[j] = from_float<T>(d * u * s * (1 + g * (1 - s)));
    up.at[j] = from_float<T>(d * silu);
    slope.at[j] = from_float<T>(silu * u);
  }
  store(gate_at, gate);
  store(up_at, up);
  store(dy_at, slope);
}

// W: what is moved at once.
template <class W>
__global__ void gather_kernel(const std::byte* x, std::int64_t stride_bytes, const std::int32_t* index, W* y,
                              std::int64_t pieces, std::int64_t words) {
  const std::int64_t number = piece();
  if (number >= pieces) return;
  const std::int64_t row = number / words, word = number % words;
  y[number] = reinterpret_cast<const W*>(x + index[row] * stride_bytes)[word];
}

template <class T>
__device__ Vector<T> sum_of_copies(const T* copies, std::int64_t width, std::int64_t column,
                                   const std::int32_t* places, int count) {
  float sum[Vector<T>::size] = {};
  for (int i = 0; i < count; ++i) {
    const Vector<T> own = load(copies + places[i] * width + column);
#pragma unroll
    for (int j = 0; j < Vector<T>::size; ++j) sum[j] += to_float(own.at[j]);
  }
  Vector<T> result;
#pragma unroll
  for (int j = 0; j < Vector<T>::size; ++j) result.at[j] = from_float<T>(sum[j]);
  return result;
}

template <class T>
__global__ void collect_kernel(Gathered from, T* dqkv, std::int64_t pieces) {
  constexpr int size = Vector<T>::size;
  const std::int64_t number = piece();
  if (number >= pieces) return;
  const std::int64_t width = from.query_width + 2 * from.kv_width, vectors = width / size;
  const std::int64_t row = number / vectors, column = number % vectors * size;
  T* to = dqkv + row * width + column;
  if (column < from.query_width) {
    store(to, load(static_cast<const T*>(from.dq) + row * from.query_width + column));
    return;
  }
  const bool is_key = column < from.query_width + from.kv_width;
  const auto* copies = static_cast<const T*>(is_key ? from.dk : from.dv);
  const std::int64_t at = column - from.query_width - (is_key ? 0 : from.kv_width);
  const std::int32_t begin = from.begin[row];
  store(to, sum_of_copies(copies, from.kv_width, at, from.places + begin, from.begin[row + 1] - begin));
}

}  // namespace

void rotate(const Rows& on, void* x, std::int64_t stride, const float* cos, const float* sin, std::int64_t heads,
            std::int64_t half, float sign) {
  if (on.rows == 0) return;
  const std::int64_t pieces = on.rows * heads * (half / lanes(on.element));
  with_element_type(on.element, [&]<class T>(T) {
    rotate_kernel<T><<<blocks_for(pieces, threads), threads, 0, on.stream>>>(
        static_cast<T*>(x), stride, cos, sin, pieces, static_cast<int>(heads), static_cast<int>(half), sign);
  });
  check_launch("rotate");
}

void swiglu(const Rows& on, const void* gate_up, void* y, std::int64_t width) {
  if (on.rows == 0) return;
  const std::int64_t pieces = on.rows * (width / lanes(on.element));
  with_element_type(on.element, [&]<class T>(T) {
    swiglu_kernel<T><<<blocks_for(pieces, threads), threads, 0, on.stream>>>(
        static_cast<const T*>(gate_up), static_cast<T*>(y), pieces, static_cast<int>(width));
  });
  check_launch("swiglu");
}

void swiglu_backward(const Rows& on, void* gate_up, void* dy, std::int64_t width) {
  if (on.rows == 0) return;
  const std::int64_t pieces = on.rows * (width / lanes(on.element));
  with_element_type(on.element, [&]<class T>(T) {
    swiglu_backward_kernel<T><<<blocks_for(pieces, threads), threads, 0, on.stream>>>(
        static_cast<T*>(gate_up), static_cast<T*>(dy), pieces, static_cast<int>(width));
  });
  check_launch("swiglu_backward");
}

void gather_rows(const void* x, std::int64_t stride_bytes, const std::int32_t* index, void* y, std::int64_t rows,
                 std::int64_t row_bytes, Stream stream) {
  if (rows == 0) return;
  const auto launch = [&]<class W>(W) {
    const std::int64_t words = row_bytes / static_cast<std::int64_t>(sizeof(W)), pieces = rows * words;
    gather_kernel<W><<<blocks_for(pieces, threads), threads, 0, stream>>>(
        static_cast<const std::byte*>(x), stride_bytes, index, static_cast<W*>(y), pieces, words);
  };
  const bool wide = row_bytes % static_cast<std::int64_t>(sizeof(int4)) == 0 &&
                    stride_bytes % static_cast<std::int64_t>(sizeof(int4)) == 0 &&
                    reinterpret_cast<std::uintptr_t>(x) % sizeof(int4) == 0;
  wide ? launch(int4{}) : launch(std::int32_t{});
  check_launch("gather_rows");
}

void collect_gradients(const Rows& on, const Gathered& from, void* dqkv) {
  if (on.rows == 0) return;
  const std::int64_t pieces = on.rows * ((from.query_width + 2 * from.kv_width) / lanes(on.element));
  with_element_type(on.element, [&]<class T>(T) {
    collect_kernel<T><<<blocks_for(pieces, threads), threads, 0, on.stream>>>(from, static_cast<T*>(dqkv), pieces);
  });
  check_launch("collect_gradients");
}

}  // namespace rrhf::model::cuda
