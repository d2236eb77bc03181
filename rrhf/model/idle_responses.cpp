#include "rrhf/model/idle_responses.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "rrhf/core/with_cuda.h"
#include "rrhf/model/cuda_ops.h"
#include "rrhf/model/upload.h"

namespace rrhf::model {
namespace {

// Runs of rows that stay, ascending.
class KeptRows {
 public:
  explicit KeptRows(at::Device device) : device_(device) {}

  void add(Segment rows) {
    if (rows.size == 0) return;
    if (!runs_.empty() && runs_.back().end() == rows.begin) {
      runs_.back().size += rows.size;
    } else {
      runs_.push_back(rows);
    }
  }

  // Moves the rows that stay to the front of the tensor, which has all or only the first, and cuts off the rest.
  void keep_in(at::Tensor& tensor) {
    if (!tensor.defined()) return;
    const std::int64_t count = count_within(tensor.size(0));
    if (count == tensor.size(0)) return;
    if (tensor.is_cpu()) {
      move_to_front(tensor);
      tensor = tensor.narrow(0, 0, count);
    } else {
      if (!index_.defined()) index_ = index();
      tensor = rows_of(tensor, index_.narrow(0, 0, count));
    }
  }

 private:
  // How many of the first `rows` rows stay.
  std::int64_t count_within(std::int64_t rows) const {
    std::int64_t count = 0;
    for (const Segment& run : runs_) count += std::clamp<std::int64_t>(rows - run.begin, 0, run.size);
    return count;
  }

  void move_to_front(at::Tensor& tensor) const {
    const auto row_bytes = static_cast<std::size_t>(tensor.stride(0) * tensor.element_size());
    auto* data = static_cast<std::byte*>(tensor.mutable_data_ptr());
    std::size_t at = 0;
    for (const Segment& run : runs_) {
      const std::int64_t rows = std::min(run.size, tensor.size(0) - run.begin);
      if (rows <= 0) break;
      const std::size_t begin = static_cast<std::size_t>(run.begin) * row_bytes;
      // The last row of a matrix whose rows stand apart ends with its columns.
      const std::size_t bytes = static_cast<std::size_t>(rows - 1) * row_bytes +
                                static_cast<std::size_t>(tensor[0].numel() * tensor.element_size());
      if (at != begin) std::memmove(data + at, data + begin, bytes);
      at += static_cast<std::size_t>(rows) * row_bytes;
    }
  }

  static at::Tensor rows_of(const at::Tensor& tensor, const at::Tensor& index) {
    if constexpr (with_cuda) {
      if (tensor.is_cuda() && tensor[0].is_contiguous()) {
        std::vector<std::int64_t> sizes = tensor.sizes().vec();
        sizes[0] = index.size(0);
        at::Tensor kept =
            at::empty({sizes[0] * tensor.stride(0)}, tensor.options()).as_strided(sizes, tensor.strides());
        cuda::gather_rows(tensor, index, kept);
        return kept;
      }
    }
    return tensor.index_select(0, index);
  }

  at::Tensor index() const {
    std::vector<std::int32_t> rows;
    for (const Segment& run : runs_) {
      for (std::int64_t row = run.begin; row < run.end(); ++row) rows.push_back(static_cast<std::int32_t>(row));
    }
    at::Tensor on_device;
    Upload upload;
    upload.add(rows, on_device);
    upload.send(device_);
    return on_device;
  }

  at::Device device_;
  std::vector<Segment> runs_;
  at::Tensor index_;  // of the rows, on the device: where tensors are not moved in place
};

void keep_layer_rows(KeptRows& rows, LayerSaved& layer) {
  for (at::Tensor* tensor :
       {&layer.input_TD, &layer.input_inverse_rms_T1, &layer.qkv_TQ, &layer.attended_TA, &layer.attention_normalizer_TN,
        &layer.middle_TD, &layer.middle_inverse_rms_T1, &layer.gate_up_T2F}) {
    rows.keep_in(*tensor);
  }
}

// What a GPU copies to leave out idle rows is a twentieth of a backward pass: fewer than a sixteenth stay.
constexpr std::int64_t least_idle_share = 16;

// Rows that would be left out.
std::int64_t idle_rows(const Pack& pack, std::span<const double> coefficients) {
  std::int64_t rows = 0;
  std::size_t response = 0;
  for (const PackedQuery& query : pack.queries) {
    bool all = true;
    for (const Segment& segment : query.responses) {
      if (coefficients[response++] == 0) {
        rows += segment.size;
      } else {
        all = false;
      }
    }
    if (all) rows += query.prompt.size;
  }
  return rows;
}

}  // namespace

ActivePart drop_idle_responses(std::span<const PackInput> inputs, const Pack& pack,
                               std::span<const double> coefficients, Activations& saved) {
  const bool parked = saved.parked != nullptr && !saved.parked->empty();  // out of reach
  if (parked && std::ranges::all_of(coefficients, [](double coefficient) { return coefficient == 0; })) {
    saved.parked->clear();
    return {.pack = make_pack({}, pack.tokens_T.device()), .coefficients = {}};
  }
  if (parked || (!pack.tokens_T.is_cpu() && idle_rows(pack, coefficients) * least_idle_share < pack.token_count())) {
    return {.pack = pack, .coefficients = {coefficients.begin(), coefficients.end()}};
  }
  ActivePart part;
  std::vector<PackInput> kept;
  KeptRows rows(pack.tokens_T.device()), label_rows(pack.tokens_T.device());
  std::int64_t label_row = 0;
  std::size_t response = 0;
  for (std::size_t q = 0; q < inputs.size(); ++q) {
    const PackedQuery& query = pack.queries[q];
    const auto own = coefficients.subspan(response, query.responses.size());
    response += own.size();
    const bool any = std::ranges::any_of(own, [](double coefficient) { return coefficient != 0; });
    if (any) {
      kept.push_back({inputs[q].prompt, {}});
      rows.add(query.prompt);
      label_rows.add({label_row, 1});
    }
    ++label_row;
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (own[i] != 0) {
        kept.back().responses.push_back(inputs[q].responses[i]);
        part.coefficients.push_back(own[i]);
        rows.add(query.responses[i]);
        label_rows.add({label_row, query.responses[i].size});
      }
      label_row += query.responses[i].size;
    }
  }
  part.pack = make_pack(kept, pack.tokens_T.device());
  rows.keep_in(saved.rotary.cos_T1H);
  rows.keep_in(saved.rotary.sin_T1H);
  for (LayerSaved& layer : saved.layers) keep_layer_rows(rows, layer);
  for (at::Tensor* tensor :
       {&saved.last_RD, &saved.last_inverse_rms_R1, &saved.head.log_normalizer_R1, &saved.head.probabilities_KV}) {
    label_rows.keep_in(*tensor);
  }
  if (!pack.tokens_T.is_cpu()) saved.head.passing_KV.reset();  // the rows that stay are elsewhere
  return part;
}

}  // namespace rrhf::model
