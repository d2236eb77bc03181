#include "rrhf/model/label_logprobs.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "rrhf/model/cpu_dispatch.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/few_shapes.h"
#include "rrhf/model/ops.h"

namespace rrhf::model {
namespace {

// A run of label rows and the labels they predict.
struct Chunk {
  Segment rows;
  Segment labels;
};

std::vector<Chunk> chunks_of(const Pack& pack, const at::Tensor& head_VD, std::int64_t element_bytes,
                             const HeadBudget& budget) {
  const std::int64_t row_count = pack.rows_R.size(0);
  std::int64_t most = std::max<std::int64_t>(1, budget.chunk_bytes / (head_VD.size(0) * element_bytes));
  if (few_shapes::wanted(head_VD)) most = few_shapes::whole_within(most);
  std::vector<Chunk> chunks;
  for (std::int64_t begin = 0; begin < row_count; begin += most) {
    const std::int64_t end = std::min(row_count, begin + most);
    const std::int64_t first = pack.label_begin_R[static_cast<std::size_t>(begin)];
    const std::int64_t last = pack.label_begin_R[static_cast<std::size_t>(end)];
    chunks.push_back({{begin, end - begin}, {first, last - first}});
  }
  return chunks;
}

at::Tensor rows_of(const at::Tensor& tensor, Segment segment) { return tensor.narrow(0, segment.begin, segment.size); }

// Logits are laid out in rows of whole cache lines: products into rows of, say, 32001 elements take half as long again.
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

at::Tensor empty_logits(std::int64_t rows, const at::Tensor& head_VD, at::ScalarType dtype) {
  const std::int64_t v = head_VD.size(0), stride = (v + row_alignment - 1) / row_alignment * row_alignment;
  return at::empty({rows, stride}, head_VD.options().dtype(dtype)).narrow(1, 0, v);
}

// Writes the logits of a chunk's rows, in the accumulation dtype.
void chunk_logits(const at::Tensor& hidden_RD, const at::Tensor& head_VD, const Chunk& chunk, at::Tensor& logits_CV) {
  if (logits_CV.scalar_type() == head_VD.scalar_type()) {
    at::mm_out(logits_CV, rows_of(hidden_RD, chunk.rows), head_VD.t());
  } else if (few_shapes::wanted(head_VD)) {
    few_shapes::product(rows_of(hidden_RD, chunk.rows), head_VD.t(), logits_CV);
  } else {
    logits_CV.copy_(project(rows_of(hidden_RD, chunk.rows), head_VD));
  }
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

// From the gradient of a chunk's logits: writes that of its rows, adds that of the head.
void head_backward(const at::Tensor& dlogits_CV, const at::Tensor& hidden_CD, const at::Tensor& head_VD,
                   at::Tensor& gradient_CD, at::Tensor& head_gradient_VD) {
  if (few_shapes::wanted(hidden_CD)) {
    // Narrowed and filled up at once: a chunk of logits is the widest matrix there is.
    const at::Tensor narrow_PV = few_shapes::filled_rows(dlogits_CV, hidden_CD.scalar_type());
    add_weight_gradient(narrow_PV, few_shapes::filled_rows(hidden_CD, hidden_CD.scalar_type()), head_gradient_VD);
    gradient_CD.copy_(project_backward(narrow_PV, head_VD).narrow(0, 0, gradient_CD.size(0)));
  } else {
    const at::Tensor narrow_CV = dlogits_CV.to(hidden_CD.scalar_type());
    add_weight_gradient(narrow_CV, hidden_CD, head_gradient_VD);
    gradient_CD.copy_(project_backward(narrow_CV, head_VD));
  }
}

}  // namespace

std::vector<double> label_logprobs(const at::Tensor& hidden_RD, const at::Tensor& head_VD, const Pack& pack,
                                   const HeadBudget& budget, HeadSaved* saved) {
  const std::int64_t vocabulary = head_VD.size(0);
  const at::ScalarType wide = accumulation_type(head_VD.scalar_type());
  const auto element_bytes = static_cast<std::int64_t>(at::elementSize(wide));
  const bool keep = saved != nullptr && pack.rows_R.size(0) * vocabulary * element_bytes <= budget.kept_bytes;
  at::Tensor logprobs_N = at::empty({pack.label_count()}, hidden_RD.options().dtype(wide));
  at::Tensor normalizer_R1 = at::empty({pack.rows_R.size(0), 1}, hidden_RD.options().dtype(wide));
  if (keep) saved->probabilities_RV = empty_logits(pack.rows_R.size(0), head_VD, wide);
  for (const Chunk& chunk : chunks_of(pack, head_VD, element_bytes, budget)) {
    at::Tensor logits_CV =
        keep ? rows_of(saved->probabilities_RV, chunk.rows) : empty_logits(chunk.rows.size, head_VD, wide);
    chunk_logits(hidden_RD, head_VD, chunk, logits_CV);
    const at::Tensor label_logits = flat(logits_CV).index_select(0, label_positions(pack, chunk, logits_CV.stride(0)));
    normalize(logits_CV, rows_of(normalizer_R1, chunk.rows), keep);
    const at::Tensor label_normalizers =
        normalizer_R1.view({-1}).index_select(0, rows_of(pack.label_row_N, chunk.labels));
    rows_of(logprobs_N, chunk.labels).copy_(label_logits - label_normalizers);
  }
  if (saved != nullptr) saved->log_normalizer_R1 = normalizer_R1;
  const at::Tensor sums = at::zeros({pack.responses}, hidden_RD.options().dtype(at::kDouble))
                              .index_add_(0, pack.response_N, logprobs_N.to(at::kDouble))
                              .to(at::kCPU);
  return {sums.const_data_ptr<double>(), sums.const_data_ptr<double>() + pack.responses};
}

at::Tensor label_logprobs_backward(std::span<const double> coefficients, const at::Tensor& hidden_RD,
                                   const at::Tensor& head_VD, const Pack& pack, const HeadBudget& budget,
                                   HeadSaved& saved, at::Tensor& head_gradient_VD) {
  const at::Tensor normalizer_R1 = saved.log_normalizer_R1;
  const at::ScalarType wide = normalizer_R1.scalar_type();
  const at::Tensor coefficient_N =
      at::tensor(at::ArrayRef<double>(coefficients.data(), coefficients.size()), at::kDouble)
          .to(hidden_RD.device(), wide)
          .index_select(0, pack.response_N);
  // Of a row's log-softmax each label adds its coefficient at the label and takes it, times the probabilities, from
  // all.
  const at::Tensor taken_R1 =
      at::zeros_like(normalizer_R1).view({-1}).index_add_(0, pack.label_row_N, coefficient_N).neg_().view({-1, 1});
  at::Tensor gradient_RD = at::empty_like(hidden_RD);
  const bool kept = saved.probabilities_RV.defined();
  const auto element_bytes = static_cast<std::int64_t>(at::elementSize(wide));
  for (const Chunk& chunk : chunks_of(pack, head_VD, element_bytes, budget)) {
    at::Tensor dlogits_CV =
        kept ? rows_of(saved.probabilities_RV, chunk.rows) : empty_logits(chunk.rows.size, head_VD, wide);
    if (!kept) chunk_logits(hidden_RD, head_VD, chunk, dlogits_CV);
    const at::Tensor normalizer_C1 = rows_of(normalizer_R1, chunk.rows);
    scale_probabilities(dlogits_CV, rows_of(taken_R1, chunk.rows), kept ? nullptr : &normalizer_C1);
    flat(dlogits_CV)
        .index_add_(0, label_positions(pack, chunk, dlogits_CV.stride(0)), rows_of(coefficient_N, chunk.labels));
    at::Tensor chunk_gradient_CD = rows_of(gradient_RD, chunk.rows);
    head_backward(dlogits_CV, rows_of(hidden_RD, chunk.rows), head_VD, chunk_gradient_CD, head_gradient_VD);
  }
  saved = {};
  return gradient_RD;
}

}  // namespace rrhf::model
