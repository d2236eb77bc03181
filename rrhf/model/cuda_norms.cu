// RMSNorm: a block a row, its elements in shared memory or registers between the two looks at them.
#include <algorithm>

#include "rrhf/model/cuda_device.cuh"

namespace rrhf::model::cuda {
namespace {

constexpr int most_threads = 256;
// Blocks of a backward pass: each sums the weight's gradient over its rows. Two a multiprocessor of the largest GPUs.
constexpr std::int64_t most_partials = 264;

int threads_for(std::int64_t vectors) {
  const auto whole = (vectors + warp_size - 1) / warp_size * warp_size;
  return static_cast<int>(std::min<std::int64_t>(whole, most_threads));
}

template <class T>
__global__ void rms_norm_kernel(const T* x, const T* residual, T* sum, const T* weight, T* y, float* inverse_rms,
                                int width, float epsilon) {
  extern __shared__ int4 row_room[];
  __shared__ float sums[warp_size];
  auto* row = reinterpret_cast<Vector<T>*>(row_room);
  const int vectors = width / Vector<T>::size;
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * width;
  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += static_cast<int>(blockDim.x)) {
    Vector<T> own = load(x + at + i * Vector<T>::size);
    if (residual != nullptr) {
      const Vector<T> other = load(residual + at + i * Vector<T>::size);
#pragma unroll
      for (int j = 0; j < Vector<T>::size; ++j) own.at[j] = from_float<T>(to_float(own.at[j]) + to_float(other.at[j]));
      store(sum + at + i * Vector<T>::size, own);
    }
#pragma unroll
    for (int j = 0; j < Vector<T>::size; ++j) squares += to_float(own.at[j]) * to_float(own.at[j]);
    row[i] = own;
  }
  const float inverse = rsqrtf(block_sum(squares, sums) / static_cast<float>(width) + epsilon);
  if (threadIdx.x == 0) inverse_rms[blockIdx.x] = inverse;
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += static_cast<int>(blockDim.x)) {
    const Vector<T> own = row[i], scale = load(weight + i * Vector<T>::size);
    Vector<T> result;
#pragma unroll
    for (int j = 0; j < Vector<T>::size; ++j) {
      result.at[j] = from_float<T>(to_float(own.at[j]) * inverse * to_float(scale.at[j]));
    }
    store(y + at + i * Vector<T>::size, result);
  }
}

template <class T>
__global__ void rms_norm_again_kernel(const T* x, const float* inverse_rms, const T* weight, T* y, int width) {
  const int vectors = width / Vector<T>::size;
  const std::int64_t at = static_cast<std::int64_t>(blockIdx.x) * width;
  const float inverse = inverse_rms[blockIdx.x];
  for (int i = static_cast<int>(threadIdx.x); i < vectors; i += static_cast<int>(blockDim.x)) {
    const Vector<T> own = load(x + at + i * Vector<T>::size), scale = load(weight + i * Vector<T>::size);
    Vector<T> result;
#pragma unroll
    for (int j = 0; j < Vector<T>::size; ++j) {
      result.at[j] = from_float<T>(to_float(own.at[j]) * inverse * to_float(scale.at[j]));
    }
    store(y + at + i * Vector<T>::size, result);
  }
}

// Each thread keeps its columns, `Held` vectors of them, over all rows of the block.
template <class T, int Held>
__global__ void rms_norm_backward_kernel(const T* dy, const T* x, const float* inverse_rms, const T* weight,
                                         const T* residual, T* dx, float* partial, std::int64_t rows, int width) {
  constexpr int size = Vector<T>::size;
  __shared__ float sums[warp_size];
  const int vectors = width / size;
  float weight_gradient[Held][size] = {};
  for (std::int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const std::int64_t at = r * width;
    const float inverse = inverse_rms[r];
    float scaled[Held][size], normed[Held][size];
    float along = 0;
#pragma unroll
    for (int k = 0; k < Held; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * static_cast<int>(blockDim.x);
      if (i >= vectors) continue;
      const Vector<T> slope = load(dy + at + i * size), own = load(x + at + i * size), scale = load(weight + i * size);
#pragma unroll
      for (int j = 0; j < size; ++j) {
        normed[k][j] = to_float(own.at[j]) * inverse;
        scaled[k][j] = to_float(slope.at[j]) * to_float(scale.at[j]);
        weight_gradient[k][j] += to_float(slope.at[j]) * normed[k][j];
        along += scaled[k][j] * normed[k][j];
      }
    }
    along = block_sum(along, sums) / static_cast<float>(width);
#pragma unroll
    for (int k = 0; k < Held; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * static_cast<int>(blockDim.x);
      if (i >= vectors) continue;
      Vector<T> result, around;
      if (residual != nullptr) around = load(residual + at + i * size);
#pragma unroll
      for (int j = 0; j < size; ++j) {
        float own = (scaled[k][j] - normed[k][j] * along) * inverse;
        if (residual != nullptr) own += to_float(around.at[j]);
        result.at[j] = from_float<T>(own);
      }
      store(dx + at + i * size, result);
    }
  }
#pragma unroll
  for (int k = 0; k < Held; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * static_cast<int>(blockDim.x);
    if (i >= vectors) continue;
#pragma unroll
    for (int j = 0; j < size; ++j) {
      partial[static_cast<std::int64_t>(blockIdx.x) * width + i * size + j] = weight_gradient[k][j];
    }
  }
}

// A block a run of 32 columns: a warp takes every 8th row of it, and the warps' sums are added up in their order.
constexpr int column_warps = 8;

template <class T>
__global__ void add_column_sums_kernel(const float* x, std::int64_t rows, std::int64_t width, T* sums) {
  __shared__ float room[column_warps][warp_size];
  const int lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * warp_size + lane;
  float sum = 0;
  if (column < width) {
    for (std::int64_t r = warp; r < rows; r += column_warps) sum += x[r * width + column];
  }
  room[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= width) return;
  for (int other = 1; other < column_warps; ++other) sum += room[other][lane];
  sums[column] = from_float<T>(to_float(sums[column]) + sum);
}

}  // namespace

void rms_norm(const Rows& on, const void* x, const void* residual, void* sum, const void* weight, void* y,
              float* inverse_rms, std::int64_t width, double epsilon) {
  if (on.rows == 0) return;
  with_element_type(on.element, [&]<class T>(T) {
    const int threads = threads_for(width / Vector<T>::size);
    rms_norm_kernel<T><<<static_cast<unsigned>(on.rows), threads, width * sizeof(T), on.stream>>>(
        static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<T*>(sum), static_cast<const T*>(weight),
        static_cast<T*>(y), inverse_rms, static_cast<int>(width), static_cast<float>(epsilon));
  });
  check_launch("rms_norm");
}

void rms_norm_again(const Rows& on, const void* x, const float* inverse_rms, const void* weight, void* y,
                    std::int64_t width) {
  if (on.rows == 0) return;
  with_element_type(on.element, [&]<class T>(T) {
    const int threads = threads_for(width / Vector<T>::size);
    rms_norm_again_kernel<T><<<static_cast<unsigned>(on.rows), threads, 0, on.stream>>>(
        static_cast<const T*>(x), inverse_rms, static_cast<const T*>(weight), static_cast<T*>(y),
        static_cast<int>(width));
  });
  check_launch("rms_norm_again");
}

std::int64_t norm_partials(std::int64_t rows) { return std::clamp<std::int64_t>(rows, 1, most_partials); }

void rms_norm_backward(const Rows& on, const void* dy, const void* x, const float* inverse_rms, const void* weight,
                       const void* residual, void* dx, float* partial, std::int64_t width) {
  with_element_type(on.element, [&]<class T>(T) {
    const std::int64_t vectors = width / Vector<T>::size;
    const int threads = threads_for(vectors);
    const auto launch = [&](auto kernel) {
      kernel<<<static_cast<unsigned>(norm_partials(on.rows)), threads, 0, on.stream>>>(
          static_cast<const T*>(dy), static_cast<const T*>(x), inverse_rms, static_cast<const T*>(weight),
          static_cast<const T*>(residual), static_cast<T*>(dx), partial, on.rows, static_cast<int>(width));
    };
    const std::int64_t held = (vectors + threads - 1) / threads;
    if (held <= 1) return launch(rms_norm_backward_kernel<T, 1>);
    if (held <= 2) return launch(rms_norm_backward_kernel<T, 2>);
    if (held <= 4) return launch(rms_norm_backward_kernel<T, 4>);
    return launch(rms_norm_backward_kernel<T, 8>);
  });
  check_launch("rms_norm_backward");
}

void add_column_sums(const Rows& on, const float* x, std::int64_t width, void* sums) {
  with_element_type(on.element, [&]<class T>(T) {
    add_column_sums_kernel<T><<<blocks_for(width, warp_size), column_warps * warp_size, 0, on.stream>>>(
        x, on.rows, width, static_cast<T*>(sums));
  });
  check_launch("add_column_sums");
}

}  // namespace rrhf::model::cuda
