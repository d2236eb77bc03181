#include "rrhf/model/label_logprobs.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "rrhf/core/with_cuda.h"
#include "rrhf/model/cpu_dispatch.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/cuda_ops.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/products.h"
#include "rrhf/model/upload.h"

namespace rrhf::model {
namespace {

// A run of label rows and the labels they predict.
struct Chunk {
  Segment rows;
  Segment labels;
};

std::int64_t rows_at_once(std::int64_t row_bytes, const HeadBudget& budget) {
  return std::max<std::int64_t>(1, budget.chunk_bytes / row_bytes);
}

// The first `kept` rows and the others are cut by themselves: a chunk is kept or not.
std::vector<Chunk> chunks_of(const Pack& pack, const at::Tensor& head_VD, std::int64_t kept, std::int64_t element_bytes,
                             const HeadBudget& budget) {
  const std::int64_t row_count = pack.rows_R.size(0);
  const std::int64_t most = rows_at_once(head_VD.size(0) * element_bytes, budget);
  std::vector<Chunk> chunks;
  for (std::int64_t begin = 0, end = 0; begin < row_count; begin = end) {
    end = std::min(begin < kept ? kept : row_count, begin + most);
    const std::int64_t first = pack.label_begin_R[static_cast<std::size_t>(begin)];
    const std::int64_t last = pack.label_begin_R[static_cast<std::size_t>(end)];
    chunks.push_back({{begin, end - begin}, {first, last - first}});
  }
  return chunks;
}

at::Tensor rows_of(const at::Tensor& tensor, Segment segment) { return tensor.narrow(0, segment.begin, segment.size); }

// Logits are laid out in rows of whole cache lines: MKL's products into rows of, say, 32001 elements take half as long
// again. oneDNN copies a matrix whose rows stand apart.
constexpr std::int64_t row_alignment = 16;

// Positions of a chunk's labels in the storage of its logits.
at::Tensor label_positions(const Pack& pack, const Chunk& chunk, std::int64_t row_stride) {
  return (rows_of(pack.label_row_N, chunk.labels) - chunk.rows.begin) * row_stride +
         rows_of(pack.labels_N, chunk.labels);
}

// The storage of a chunk's logits as a vector.
at::Tensor flat(const at::Tensor& logits_CV) {
  return logits_CV.as_strided({(logits_CV.size(0) - 1) * logits_CV.stride(0) + logits_CV.size(1)}, {1});
}

at::Tensor empty_logits(std::int64_t rows, const at::Tensor& head_VD, at::ScalarType dtype, Room room = {}) {
  const std::int64_t v = head_VD.size(0);
  const bool dense = head_VD.is_cpu() && dtype == at::kFloat && prefers_onednn();
  return room.empty({rows, dense ? v : most_logits_stride(v)}, head_VD.options().dtype(dtype)).narrow(1, 0, v);
}

// Where the chunks' logits are made: among those kept, or one chunk after the other in the same place. That place is
// among the kept ones as well, which come last in the forward pass and first in the backward pass.
class ChunkRooms {
 public:
  ChunkRooms(const at::Tensor& head_VD, at::ScalarType dtype, const HeadSaved* saved)
      : head_VD_(head_VD), dtype_(dtype) {
    if (saved == nullptr) return;
    kept_KV_ = saved->probabilities_KV;
    passing_CV_ = saved->passing_KV;
  }

  std::int64_t kept() const { return kept_KV_.defined() ? kept_KV_.size(0) : 0; }
  bool keeps(const Chunk& chunk) const { return chunk.rows.begin < kept(); }

  at::Tensor of(const Chunk& chunk) {
    if (keeps(chunk)) return rows_of(kept_KV_, chunk.rows);
    const Segment first{0, chunk.rows.size};
    if (!passing_CV_.defined() || passing_CV_.size(0) < first.size) {
      passing_CV_ = empty_logits(first.size, head_VD_, dtype_);  // none later is larger
    }
    return rows_of(passing_CV_, first);
  }

 private:
  const at::Tensor& head_VD_;
  at::ScalarType dtype_;
  at::Tensor kept_KV_, passing_CV_;
};

// On a GPU, products over a vocabulary of, say, 32001 take eight times as long as over 32000: the columns of a matrix
// come in multiples of 64, and the few at the end by themselves.
constexpr std::int64_t vocabulary_multiple = 64;

// Calls visit with the runs of the vocabulary that are taken at once.
template <class F>
void for_vocabulary(const at::Tensor& head_VD, F&& visit) {
  const std::int64_t v = head_VD.size(0);
  const std::int64_t whole = head_VD.is_cuda() ? v / vocabulary_multiple * vocabulary_multiple : v;
  if (whole > 0) visit(Segment{0, whole});
  if (whole < v) visit(Segment{whole, v - whole});
}

at::Tensor columns_of(const at::Tensor& tensor, Segment segment) {
  return tensor.narrow(1, segment.begin, segment.size);
}

// Writes the logits of a chunk's rows, in the accumulation dtype.
void chunk_logits(const at::Tensor& hidden_RD, const at::Tensor& head_VD, const Chunk& chunk, at::Tensor& logits_CV) {
  const at::Tensor hidden_CD = rows_of(hidden_RD, chunk.rows);
  for_vocabulary(head_VD, [&](Segment words) {
    at::Tensor out = columns_of(logits_CV, words);
    if (out.scalar_type() == head_VD.scalar_type()) {
      product_into(hidden_CD, rows_of(head_VD, words).t(), out);
    } else if (head_VD.is_cuda()) {
      at::mm_out(out, hidden_CD, rows_of(head_VD, words).t(), out.scalar_type());
    } else {
      out.copy_(project(hidden_CD, rows_of(head_VD, words)));
    }
  });
}

// Calls visit(row, its address, rows) for shares of the rows, on several threads.
template <class T, class F>
void for_rows(const at::Tensor& logits_CV, F&& visit) {
  T* data = logits_CV.mutable_data_ptr<T>();
  at::parallel_for(0, logits_CV.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    visit(begin, data + begin * logits_CV.stride(0), end - begin);
  });
}

// The rows' log-normalizers; with `exponentiate` the logits become probabilities.
void normalize(at::Tensor& logits_CV, at::Tensor normalizer_C1, bool exponentiate) {
  if constexpr (with_cuda) {
    if (cuda::takes_logits(logits_CV)) return cuda::log_normalizers(logits_CV, normalizer_C1, exponentiate);
  }
  if (!has_kernels(logits_CV)) {
    normalizer_C1.copy_(logits_CV.logsumexp(1, true));
    if (exponentiate) logits_CV.sub_(normalizer_C1).exp_();
    return;
  }
  with_element(logits_CV, [&]<class T>(T) {
    T* normalizers = normalizer_C1.mutable_data_ptr<T>();
    for_rows<T>(logits_CV, [&](std::int64_t begin, T* x, std::int64_t rows) {
      cpu::kernels<T>().log_normalizers(x, logits_CV.stride(0), rows, logits_CV.size(1), normalizers + begin,
                                        exponentiate);
    });
  });
}

// probabilities * factor of the row, in place: from probabilities, or from logits and their normalizers.
void scale_probabilities(at::Tensor& x_CV, const at::Tensor& factor_C1, const at::Tensor* normalizer_C1) {
  if (!has_kernels(x_CV)) {
    if (normalizer_C1 != nullptr) x_CV.sub_(*normalizer_C1).exp_();
    x_CV.mul_(factor_C1);
    return;
  }
  with_element(x_CV, [&]<class T>(T) {
    const T* factors = factor_C1.const_data_ptr<T>();
    const T* normalizers = normalizer_C1 == nullptr ? nullptr : normalizer_C1->const_data_ptr<T>();
    for_rows<T>(x_CV, [&](std::int64_t begin, T* x, std::int64_t rows) {
      if (normalizers == nullptr) {
        cpu::kernels<T>().scale_rows(x, x_CV.stride(0), rows, x_CV.size(1), factors + begin);
      } else {
        cpu::kernels<T>().scaled_probabilities(x, x_CV.stride(0), rows, x_CV.size(1), normalizers + begin,
                                               factors + begin);
      }
    });
  });
}

// What the labels of a pack pull at, and with what force. Of a row's log-softmax each label adds its coefficient at the
// label and takes it, times the probabilities, from all.
struct Pull {
  at::Tensor coefficient_N;
  at::Tensor taken_R1;  ///< minus the sum of a row's coefficients
};

Pull pull_of(std::span<const double> coefficients, const Pack& pack, const at::TensorOptions& options) {
  std::vector<double> at_labels, taken(pack.label_begin_R.size() - 1);
  at_labels.reserve(pack.response_N.size());
  for (std::size_t row = 0; row < taken.size(); ++row) {
    for (std::int64_t label = pack.label_begin_R[row]; label < pack.label_begin_R[row + 1]; ++label) {
      const auto response = static_cast<std::size_t>(pack.response_N[static_cast<std::size_t>(label)]);
      at_labels.push_back(coefficients[response]);
      taken[row] -= coefficients[response];
    }
  }
  Pull pull;
  Upload upload;
  upload.add(at_labels, pull.coefficient_N);
  upload.add(taken, pull.taken_R1);
  upload.send(options.device());
  return {pull.coefficient_N.to(options.dtype()), pull.taken_R1.to(options.dtype()).view({-1, 1})};
}

// The gradient of a chunk's logits, in the logits' place or in the head's dtype, from probabilities or, where their
// normalizers are given, logits.
at::Tensor logit_gradients(at::Tensor& x_CV, const at::Tensor* normalizer_C1, const Pull& pull, const Pack& pack,
                           const Chunk& chunk, at::ScalarType head_dtype) {
  const at::Tensor taken_C1 = rows_of(pull.taken_R1, chunk.rows);
  if constexpr (with_cuda) {
    if (cuda::takes_logits(x_CV)) {
      return cuda::logit_gradients(x_CV, normalizer_C1 == nullptr ? at::Tensor() : *normalizer_C1, taken_C1,
                                   {.begin_P = pack.label_begin_P.narrow(0, chunk.rows.begin, chunk.rows.size + 1),
                                    .label_L = rows_of(pack.labels_N, chunk.labels),
                                    .coefficient_L = rows_of(pull.coefficient_N, chunk.labels)},
                                   head_dtype);
    }
  }
  scale_probabilities(x_CV, taken_C1, normalizer_C1);
  flat(x_CV).index_add_(0, label_positions(pack, chunk, x_CV.stride(0)), rows_of(pull.coefficient_N, chunk.labels));
  return x_CV;
}

// From the gradient of a chunk's logits: writes that of its rows, adds that of the head where it is defined.
void head_backward(const at::Tensor& dlogits_CV, const at::Tensor& hidden_CD, const at::Tensor& head_VD,
                   at::Tensor& gradient_CD, at::Tensor& head_gradient_VD) {
  const at::Tensor narrow_CV = dlogits_CV.to(hidden_CD.scalar_type());
  for_vocabulary(head_VD, [&](Segment words) {
    const at::Tensor own_CW = columns_of(narrow_CV, words);
    if (head_gradient_VD.defined()) {
      at::Tensor slopes_WD = rows_of(head_gradient_VD, words);
      add_weight_gradient(own_CW, hidden_CD, slopes_WD);
    }
    if (words.begin == 0) {
      product_into(own_CW, rows_of(head_VD, words), gradient_CD);
    } else {
      add_product(own_CW, rows_of(head_VD, words), gradient_CD);
    }
  });
}

}  // namespace

std::int64_t most_logits_stride(std::int64_t vocabulary) {
  return (vocabulary + row_alignment - 1) / row_alignment * row_alignment;
}

std::int64_t kept_rows(std::int64_t rows, std::int64_t row_bytes, const HeadBudget& budget) {
  const std::int64_t most = budget.kept_bytes / row_bytes, chunk = rows_at_once(row_bytes, budget);
  if (rows <= most) return rows;
  return most < chunk ? most : most / chunk * chunk;
}

std::vector<double> label_logprobs(const at::Tensor& hidden_RD, const at::Tensor& head_VD, const Pack& pack,
                                   const HeadBudget& budget, HeadSaved* saved, Room room) {
  const std::int64_t vocabulary = head_VD.size(0);
  const at::ScalarType wide = accumulation_type(head_VD.scalar_type());
  const auto element_bytes = static_cast<std::int64_t>(at::elementSize(wide));
  const std::int64_t row_count = pack.rows_R.size(0);
  const std::int64_t kept = saved == nullptr ? 0 : kept_rows(row_count, vocabulary * element_bytes, budget);
  at::Tensor logprobs_N = at::empty({pack.label_count()}, hidden_RD.options().dtype(wide));
  at::Tensor normalizer_R1 = at::empty({row_count, 1}, hidden_RD.options().dtype(wide));
  if (saved != nullptr) {
    saved->probabilities_KV = saved->passing_KV = kept > 0 ? empty_logits(kept, head_VD, wide, room) : at::Tensor();
  }
  ChunkRooms rooms(head_VD, wide, saved);
  std::vector<Chunk> chunks = chunks_of(pack, head_VD, kept, element_bytes, budget);
  std::ranges::rotate(chunks, std::ranges::find_if_not(chunks, [&](const Chunk& chunk) { return rooms.keeps(chunk); }));
  for (const Chunk& chunk : chunks) {
    at::Tensor logits_CV = rooms.of(chunk);
    chunk_logits(hidden_RD, head_VD, chunk, logits_CV);
    const at::Tensor label_logits = flat(logits_CV).index_select(0, label_positions(pack, chunk, logits_CV.stride(0)));
    normalize(logits_CV, rows_of(normalizer_R1, chunk.rows), rooms.keeps(chunk));
    const at::Tensor label_normalizers =
        normalizer_R1.view({-1}).index_select(0, rows_of(pack.label_row_N, chunk.labels));
    rows_of(logprobs_N, chunk.labels).copy_(label_logits - label_normalizers);
  }
  if (saved != nullptr) saved->log_normalizer_R1 = normalizer_R1;
  const at::Tensor here_N = logprobs_N.to(at::kCPU, at::kDouble);
  const double* logprobs = here_N.const_data_ptr<double>();
  std::vector<double> sums(static_cast<std::size_t>(pack.responses));
  for (const std::int64_t response : pack.response_N) sums[static_cast<std::size_t>(response)] += *logprobs++;
  return sums;
}

at::Tensor label_logprobs_backward(std::span<const double> coefficients, const at::Tensor& hidden_RD,
                                   const at::Tensor& head_VD, const Pack& pack, const HeadBudget& budget,
                                   HeadSaved& saved, at::Tensor& head_gradient_VD) {
  const at::Tensor normalizer_R1 = saved.log_normalizer_R1;
  const at::ScalarType wide = normalizer_R1.scalar_type();
  const Pull pull = pull_of(coefficients, pack, normalizer_R1.options());
  at::Tensor gradient_RD = at::empty_like(hidden_RD);
  ChunkRooms rooms(head_VD, wide, &saved);
  const auto element_bytes = static_cast<std::int64_t>(at::elementSize(wide));
  for (const Chunk& chunk : chunks_of(pack, head_VD, rooms.kept(), element_bytes, budget)) {
    const bool kept = rooms.keeps(chunk);
    at::Tensor x_CV = rooms.of(chunk);
    if (!kept) chunk_logits(hidden_RD, head_VD, chunk, x_CV);
    const at::Tensor normalizer_C1 = rows_of(normalizer_R1, chunk.rows);
    const at::Tensor dlogits_CV =
        logit_gradients(x_CV, kept ? nullptr : &normalizer_C1, pull, pack, chunk, hidden_RD.scalar_type());
    at::Tensor chunk_gradient_CD = rows_of(gradient_RD, chunk.rows);
    head_backward(dlogits_CV, rows_of(hidden_RD, chunk.rows), head_VD, chunk_gradient_CD, head_gradient_VD);
  }
  saved = {};
  return gradient_RD;
}

}  // namespace rrhf::model
