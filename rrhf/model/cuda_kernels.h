// The GPU's loops over rows: what cpu_kernels.h is for the CPU, as launchers over plain pointers.
//
// They compile with nvcc alone (rrhf/model/cuda_*.cu); cuda_ops.h binds them to tensors. All pointers are to memory of
// the current device, matrices are row-major without gaps where no stride is given, and work is only queued, on
// `stream`. Sums are taken in float32, in an order that depends on the shapes alone, so equal inputs give equal bits.
// Every launcher throws std::runtime_error, naming itself, when CUDA refuses the launch.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace rrhf::model::cuda {

using Stream = CUstream_st*;  ///< a cudaStream_t

enum class Element { float32, bfloat16, float16 };

/// The element type of a call's matrices, its stream, and how many rows they have.
struct Rows {
  Element element;
  std::int64_t rows;
  Stream stream;
};

/// Elements that are loaded together, 16 bytes: row widths must be multiples of it, matrices aligned to it.
constexpr std::int64_t lanes(Element element) { return element == Element::float32 ? 4 : 8; }

/// The widest row of the norms: it lies in a block's shared memory.
constexpr std::int64_t widest_norm = 8192;

/// sum = x + residual where there is a residual (sum may be x), then y = weight * sum / sqrt(mean(sum^2) + epsilon).
/// `inverse_rms` gets a float a row.
void rms_norm(const Rows& on, const void* x, const void* residual, void* sum, const void* weight, void* y,
              float* inverse_rms, std::int64_t width, double epsilon);

/// y again, from what was kept.
void rms_norm_again(const Rows& on, const void* x, const float* inverse_rms, const void* weight, void* y,
                    std::int64_t width);

/// dx, plus residual where it is given. `partial` gets, a row a block, the shares of the weight's gradient: rows as
/// norm_partials() says, [partials, width] floats.
void rms_norm_backward(const Rows& on, const void* dy, const void* x, const float* inverse_rms, const void* weight,
                       const void* residual, void* dx, float* partial, std::int64_t width);
std::int64_t norm_partials(std::int64_t rows);

/// sums += the columns' sums of [on.rows, width] floats. `sums` is of on.element.
void add_column_sums(const Rows& on, const float* x, std::int64_t width, void* sums);

/// Turns the first `heads` heads of 2 * half elements of each row, rows `stride` apart, in place, by angles whose
/// cosines and sines are [rows, half]; `sign` -1 turns back.
void rotate(const Rows& on, void* x, std::int64_t stride, const float* cos, const float* sin, std::int64_t heads,
            std::int64_t half, float sign);

/// y = silu(gate) * up for rows [gate | up] of 2 * width.
void swiglu(const Rows& on, const void* gate_up, void* y, std::int64_t width);

/// As ops.h's swiglu_backward: `gate_up` becomes its gradient, `dy` becomes the activation.
void swiglu_backward(const Rows& on, void* gate_up, void* dy, std::int64_t width);

/// y[i] = x[index[i]] for `rows` rows of `row_bytes` bytes, a multiple of 4; those of x are `stride_bytes` apart.
void gather_rows(const void* x, std::int64_t stride_bytes, const std::int32_t* index, void* y, std::int64_t rows,
                 std::int64_t row_bytes, Stream stream);

/// The gradients of gathered keys and values, back in the rows they came from: row t of `dqkv` is
/// [dq[t] | the sum of dk[c] | the sum of dv[c]] over its copies c, places[begin[t]] to places[begin[t + 1]], in their
/// order.
struct Gathered {
  const void* dq;  ///< [rows, query_width]
  const void* dk;  ///< [copies, kv_width]
  const void* dv;
  const std::int32_t* begin;   ///< rows + 1
  const std::int32_t* places;  ///< copies
  std::int64_t query_width;
  std::int64_t kv_width;
};
void collect_gradients(const Rows& on, const Gathered& from, void* dqkv);

/// log-sum-exp of each row of float32 logits, rows `stride` apart; with `exponentiate` logits become probabilities.
void log_normalizers(float* logits, std::int64_t stride, std::int64_t rows, std::int64_t width, float* normalizers,
                     bool exponentiate, Stream stream);

/// The labels that rows predict: those of row r are begin[r] - begin[0] to begin[r + 1] - begin[0].
struct RowLabels {
  const std::int64_t* begin;  ///< rows + 1
  const std::int64_t* ids;
  const float* coefficients;
};

/// The gradient of a chunk's logits in on.element: factor * probability, plus the coefficient at each label of the row.
/// `x` holds probabilities, or logits where their normalizers are given.
void logit_gradients(const Rows& on, const float* x, std::int64_t stride, std::int64_t width, const float* normalizers,
                     const float* factors, const RowLabels& labels, void* gradients, std::int64_t gradient_stride);

}  // namespace rrhf::model::cuda
