// Rows of logits, as wide as the vocabulary: a block each.
#include <cfloat>

#include "rrhf/model/cuda_device.cuh"

namespace rrhf::model::cuda {
namespace {

constexpr int threads = 512;

// A sum of exponentials as exp(most) * sum, so that none overflows.
struct ExpSum {
  float most = -FLT_MAX;
  float sum = 0;

  __device__ void add(const ExpSum& other) {
    const float larger = fmaxf(most, other.most);
    sum = sum * __expf(most - larger) + other.sum * __expf(other.most - larger);
    most = larger;
  }
};

__device__ ExpSum over_block(ExpSum own, ExpSum* room) {
  const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
  const auto over_warp = [](ExpSum mine) {
    for (int offset = warp_size / 2; offset > 0; offset /= 2) {
      ExpSum other;
      other.most = __shfl_xor_sync(0xffffffffU, mine.most, offset);
      other.sum = __shfl_xor_sync(0xffffffffU, mine.sum, offset);
      mine.add(other);
    }
    return mine;
  };
  own = over_warp(own);
  if (lane == 0) room[warp] = own;
  __syncthreads();
  return over_warp(lane < threads / warp_size ? room[lane] : ExpSum{});
}

__global__ void log_normalizers_kernel(float* logits, std::int64_t stride, int width, float* normalizers,
                                       bool exponentiate) {
  __shared__ ExpSum room[threads / warp_size];
  float* row = logits + blockIdx.x * stride;
  ExpSum own;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += threads) {
    const float x = row[i];
    if (x > own.most) {
      own.sum = own.sum * __expf(own.most - x) + 1;
      own.most = x;
    } else {
      own.sum += __expf(x - own.most);
    }
  }
  const ExpSum all = over_block(own, room);
  const float normalizer = all.most + logf(all.sum);
  if (threadIdx.x == 0) normalizers[blockIdx.x] = normalizer;
  if (!exponentiate) return;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += threads) row[i] = expf(row[i] - normalizer);
}

template <class T>
__global__ void logit_gradients_kernel(const float* x, std::int64_t stride, int width, const float* normalizers,
                                       const float* factors, RowLabels labels, T* gradients,
                                       std::int64_t gradient_stride) {
  const std::int64_t r = blockIdx.x;
  const float factor = factors[r], normalizer = normalizers == nullptr ? 0 : normalizers[r];
  const std::int64_t first = labels.begin[r] - labels.begin[0], last = labels.begin[r + 1] - labels.begin[0];
  for (int i = static_cast<int>(threadIdx.x); i < width; i += threads) {
    const float own = x[r * stride + i];
    float gradient = factor * (normalizers == nullptr ? own : expf(own - normalizer));
    for (std::int64_t label = first; label < last; ++label) {
      if (labels.ids[label] == i) gradient += labels.coefficients[label];
    }
    gradients[r * gradient_stride + i] = from_float<T>(gradient);
  }
}

}  // namespace

void log_normalizers(float* logits, std::int64_t stride, std::int64_t rows, std::int64_t width, float* normalizers,
                     bool exponentiate, Stream stream) {
  if (rows == 0) return;
  log_normalizers_kernel<<<static_cast<unsigned>(rows), threads, 0, stream>>>(logits, stride, static_cast<int>(width),
                                                                            normalizers, exponentiate);
  check_launch("log_normalizers");
}

void logit_gradients(const Rows& on, const float* x, std::int64_t stride, std::int64_t width, const float* normalizers,
                     const float* factors, const RowLabels& labels, void* gradients, std::int64_t gradient_stride) {
  if (on.rows == 0) return;
  with_element_type(on.element, [&]<class T>(T) {
    logit_gradients_kernel<T><<<static_cast<unsigned>(on.rows), threads, 0, on.stream>>>(
        x, stride, static_cast<int>(width), normalizers, factors, labels, static_cast<T*>(gradients), gradient_stride);
  });
  check_launch("logit_gradients");
}

}  // namespace rrhf::model::cuda
