#include "rrhf/model/label_logprobs.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rrhf/model/ops.h"

namespace rrhf::model {
namespace {

// A run of label rows and the labels they predict.
struct Chunk {
  Segment rows;
  Segment labels;
};

std::vector<Chunk> chunks_of(const Pack& pack, std::int64_t vocabulary, std::int64_t element_bytes,
                             const HeadBudget& budget) {
  const std::int64_t row_count = pack.rows_R.size(0);
  const std::int64_t most = std::max<std::int64_t>(1, budget.chunk_bytes / (vocabulary * element_bytes));
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

// Positions of a chunk's labels in its flattened [C, V] matrix.
at::Tensor label_positions(const Pack& pack, const Chunk& chunk, std::int64_t vocabulary) {
  return (rows_of(pack.label_row_N, chunk.labels) - chunk.rows.begin) * vocabulary +
         rows_of(pack.labels_N, chunk.labels);
}

at::Tensor chunk_logits(const at::Tensor& hidden_RD, const at::Tensor& head_VD, const Chunk& chunk) {
  const at::Tensor logits_CV = project(rows_of(hidden_RD, chunk.rows), head_VD);
  return logits_CV.to(accumulation_type(logits_CV.scalar_type()));
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
  for (const Chunk& chunk : chunks_of(pack, vocabulary, element_bytes, budget)) {
    at::Tensor logits_CV = chunk_logits(hidden_RD, head_VD, chunk);
    const at::Tensor normalizer_C1 = logits_CV.logsumexp(1, true);
    rows_of(normalizer_R1, chunk.rows).copy_(normalizer_C1);
    const at::Tensor label_logits = logits_CV.view({-1}).index_select(0, label_positions(pack, chunk, vocabulary));
    const at::Tensor label_normalizers =
        normalizer_R1.view({-1}).index_select(0, rows_of(pack.label_row_N, chunk.labels));
    rows_of(logprobs_N, chunk.labels).copy_(label_logits - label_normalizers);
    if (keep) saved->probabilities_CV.push_back(logits_CV.sub_(normalizer_C1).exp_());
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
  const std::int64_t vocabulary = head_VD.size(0);
  const at::Tensor& normalizer_R1 = saved.log_normalizer_R1;
  const at::ScalarType wide = normalizer_R1.scalar_type();
  const at::Tensor coefficient_N =
      at::tensor(at::ArrayRef<double>(coefficients.data(), coefficients.size()), at::kDouble)
          .to(hidden_RD.device(), wide)
          .index_select(0, pack.response_N);
  // Of a row's log-softmax each label adds its coefficient at the label and takes it, times the probabilities, from
  // all.
  const at::Tensor sum_R1 =
      at::zeros_like(normalizer_R1).view({-1}).index_add_(0, pack.label_row_N, coefficient_N).view({-1, 1});
  at::Tensor gradient_RD = at::empty_like(hidden_RD);
  std::size_t index = 0;
  for (const Chunk& chunk : chunks_of(pack, vocabulary, static_cast<std::int64_t>(at::elementSize(wide)), budget)) {
    at::Tensor dlogits_CV;
    if (saved.probabilities_CV.empty()) {
      dlogits_CV = chunk_logits(hidden_RD, head_VD, chunk).sub_(rows_of(normalizer_R1, chunk.rows)).exp_();
    } else {
      dlogits_CV = std::move(saved.probabilities_CV[index++]);
    }
    dlogits_CV.mul_(rows_of(sum_R1, chunk.rows).neg());
    dlogits_CV.view({-1}).index_add_(0, label_positions(pack, chunk, vocabulary), rows_of(coefficient_N, chunk.labels));
    const at::Tensor narrow_CV = dlogits_CV.to(hidden_RD.scalar_type());
    rows_of(gradient_RD, chunk.rows)
        .copy_(project_backward(narrow_CV, rows_of(hidden_RD, chunk.rows), head_VD, head_gradient_VD));
  }
  return gradient_RD;
}

}  // namespace rrhf::model
