// Decoding by loops of our own, float32 and float64 on the CPU.
//
// All rows of a pass go through a layer together: a weight is read once for all of them. Working memory is kept from
// pass to pass, so a step allocates nothing once the largest has been seen.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "rrhf/model/attention.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/decode_forward.h"
#include "rrhf/model/ops.h"

namespace rrhf::model {
namespace {

constexpr std::int64_t page_size = KvCache::page_size;

// Multiplications worth a thread of their own.
constexpr std::int64_t thread_work = 1 << 15;

// Where a row's keys and values go.
struct Place {
  std::int32_t page;
  std::int64_t slot;
};

Place place_of(const CachedSequence& sequence, std::int64_t position) {
  return {sequence.pages()[static_cast<std::size_t>(position / page_size)], position % page_size};
}

// A matrix in memory that only grows.
template <class T>
class Buffer {
 public:
  T* rows(std::int64_t count, std::int64_t width) {
    const std::int64_t size = count * width;
    if (!memory_.defined() || memory_.numel() < size) {
      memory_ = at::empty({size}, at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
    }
    return memory_.mutable_data_ptr<T>();
  }
  at::Tensor matrix(std::int64_t count, std::int64_t width) const {
    return memory_.narrow(0, 0, count * width).view({count, width});
  }

 private:
  at::Tensor memory_;
};

template <class T>
class LoopForward final : public DecodeForward {
 public:
  LoopForward(const Llama& llama, KvCache& cache)
      : llama_(llama), config_(llama.config()), cache_(cache), frequencies_(rotary_frequencies(config_, 0)) {}

  at::Tensor prefill(const Pack& pack, std::span<const CachedSequence> sequences) override {
    begin(pack.token_count());
    for (const CachedSequence& sequence : sequences) {
      for (std::int64_t at = 0; at < sequence.length(); ++at) add_row(place_of(sequence, at), at, sequence.length());
    }
    embed([&, ids = pack.tokens_T.const_data_ptr<std::int64_t>()](std::int64_t row) { return ids[row]; });
    layers([&](std::int64_t) { return attention(qkv_.matrix(rows_, config_.qkv_size()), pack, config_).out_TA; });
    const auto* last = pack.rows_R.const_data_ptr<std::int64_t>();
    const std::int64_t width = config_.hidden_size, count = pack.rows_R.size(0);
    T* x = x_.rows(rows_, width);
    for (std::int64_t i = 0; i < count; ++i) std::copy_n(x + last[i] * width, width, x + i * width);  // ascending
    return logits(count);
  }

  at::Tensor step(std::span<CachedSequence* const> sequences, std::span<const std::int32_t> tokens) override {
    begin(std::ssize(sequences));
    std::int64_t longest = 0;
    for (const CachedSequence* sequence : sequences) {
      const std::int64_t at = sequence->length() - 1;
      add_row(place_of(*sequence, at), at, sequence->length());
      longest = std::max(longest, sequence->length());
    }
    embed([&](std::int64_t row) { return tokens[static_cast<std::size_t>(row)]; });
    attended_.rows(rows_, config_.attention_size());
    layers([&](std::int64_t layer) {
      attend(sequences, layer, longest);
      return attended_.matrix(rows_, config_.attention_size());
    });
    return logits(rows_);
  }

 private:
  const cpu::Kernels<T>& loops() const { return cpu::kernels<T>(); }
  const T* keys(std::int64_t layer, std::int64_t head) const {
    return cache_.keys_PLKHS().const_data_ptr<T>() + head_offset(layer, head);
  }
  const T* values(std::int64_t layer, std::int64_t head) const {
    return cache_.values_PLKSH().const_data_ptr<T>() + head_offset(layer, head);
  }
  // Keys and values of a page take the same room.
  std::int64_t head_offset(std::int64_t layer, std::int64_t head) const {
    return (layer * config_.num_key_value_heads + head) * config_.head_dim * page_size;
  }
  std::int64_t page_stride() const { return head_offset(config_.num_hidden_layers, 0); }

  void begin(std::int64_t rows) {
    rows_ = rows;
    places_.clear();
    cos_.clear();
    sin_.clear();
  }

  void add_row(Place place, std::int64_t position, std::int64_t length) {
    places_.push_back(place);
    if (config_.rope_scaling.kind == RopeScaling::Kind::dynamic) frequencies_ = rotary_frequencies(config_, length);
    for (const double frequency : frequencies_) {
      const double angle = static_cast<double>(position) * frequency;
      cos_.push_back(static_cast<T>(std::cos(angle)));
      sin_.push_back(static_cast<T>(std::sin(angle)));
    }
  }

  template <class F>
  void embed(F&& token_of_row) {
    const std::int64_t width = config_.hidden_size;
    const T* table = llama_.weights().embedding_VD.const_data_ptr<T>();
    T* x = x_.rows(rows_, width);
    for (std::int64_t row = 0; row < rows_; ++row) {
      std::copy_n(table + static_cast<std::int64_t>(token_of_row(row)) * width, width, x + row * width);
    }
  }

  // y = x w^T, or added to y. The outputs are shared out among the threads.
  void product(const T* x, const at::Tensor& w_OI, T* y, std::int64_t rows, bool accumulate) const {
    const std::int64_t outputs = w_OI.size(0), k = w_OI.size(1);
    const T* w = w_OI.const_data_ptr<T>();
    constexpr std::int64_t together = 4;  // outputs that are computed at once
    const std::int64_t grain = std::max<std::int64_t>(1, thread_work / (together * rows * k));
    at::parallel_for(0, (outputs + together - 1) / together, grain, [&](std::int64_t first, std::int64_t last) {
      const std::int64_t begin = first * together, count = std::min(last * together, outputs) - begin;
      loops().rows_product(x, k, w + begin * k, y + begin, outputs, rows, k, count, accumulate);
    });
  }

  T* norm(const T* x, const at::Tensor& weight_D, std::int64_t rows) {
    const std::int64_t width = config_.hidden_size;
    T *y = normed_.rows(rows, width), *inverse = inverse_.rows(rows, 1);
    const T* weight = weight_D.const_data_ptr<T>();
    const std::int64_t grain = std::max<std::int64_t>(1, thread_work / width);
    at::parallel_for(0, rows, grain, [&](std::int64_t first, std::int64_t last) {
      loops().rms_norm(x + first * width, nullptr, weight, nullptr, y + first * width, inverse + first, last - first,
                       width, config_.rms_norm_eps);
    });
    return y;
  }

  // All layers over x_. `attend` gives the heads' outputs of a layer from qkv_, whose keys and values are stored.
  template <class F>
  void layers(F&& attend) {
    const std::int64_t f = config_.intermediate_size;
    T* x = x_.rows(rows_, config_.hidden_size);
    for (std::size_t i = 0; i < llama_.weights().layers.size(); ++i) {
      const LayerWeights& weights = llama_.weights().layers[i];
      const auto layer = static_cast<std::int64_t>(i);
      T* qkv = qkv_.rows(rows_, config_.qkv_size());
      product(norm(x, weights.input_norm_D, rows_), weights.qkv_QD, qkv, rows_, false);
      turn_and_store(qkv, layer);
      const at::Tensor attended_TA = attend(layer);
      product(attended_TA.template const_data_ptr<T>(), weights.output_DA, x, rows_, true);
      T *gate_up = gate_up_.rows(rows_, 2 * f), *activated = activated_.rows(rows_, f);
      product(norm(x, weights.post_norm_D, rows_), weights.gate_up_2FD, gate_up, rows_, false);
      at::parallel_for(0, rows_, std::max<std::int64_t>(1, thread_work / (16 * f)),
                       [&](std::int64_t first, std::int64_t last) {
                         loops().swiglu(gate_up + first * 2 * f, activated + first * f, last - first, f);
                       });
      product(activated, weights.down_DF, x, rows_, true);
    }
  }

  void turn_and_store(T* qkv, std::int64_t layer) {
    const std::int64_t heads = config_.num_attention_heads, kv = config_.num_key_value_heads, h = config_.head_dim;
    T* key_pages = cache_.keys_PLKHS().mutable_data_ptr<T>() + head_offset(layer, 0);
    T* value_pages = cache_.values_PLKSH().mutable_data_ptr<T>() + head_offset(layer, 0);
    const std::int64_t grain = std::max<std::int64_t>(1, thread_work / (8 * config_.qkv_size()));
    at::parallel_for(0, rows_, grain, [&](std::int64_t first, std::int64_t last) {
      loops().rotate(qkv + first * config_.qkv_size(), config_.qkv_size(), cos_.data() + first * h / 2,
                     sin_.data() + first * h / 2, last - first, heads + kv, h / 2, T(1));
      for (std::int64_t row = first; row < last; ++row) {
        const Place place = places_[static_cast<std::size_t>(row)];
        const T* from = qkv + row * config_.qkv_size() + heads * h;
        T* to_keys = key_pages + place.page * page_stride() + place.slot;
        T* to_values = value_pages + place.page * page_stride() + place.slot * h;
        for (std::int64_t i = 0; i < kv * h; ++i) to_keys[i * page_size] = from[i];
        for (std::int64_t head = 0; head < kv; ++head) {
          std::copy_n(from + (kv + head) * h, h, to_values + head * h * page_size);
        }
      }
    });
  }

  // Every head of every sequence is a task; those of one head stand together, since they share pages.
  void attend(std::span<CachedSequence* const> sequences, std::int64_t layer, std::int64_t longest) {
    const std::int64_t kv = config_.num_key_value_heads, h = config_.head_dim, group = config_.num_attention_heads / kv;
    const std::int64_t score_count = group * ((longest + page_size - 1) / page_size * page_size);
    const std::int64_t grain = std::max<std::int64_t>(1, thread_work / (2 * longest * h * group));
    const T scale = static_cast<T>(1 / std::sqrt(static_cast<double>(h)));
    T* scores = scores_.rows(at::get_num_threads(), score_count);
    const T* qkv = qkv_.rows(rows_, config_.qkv_size());
    T* out = attended_.rows(rows_, config_.attention_size());
    at::parallel_for(0, kv * rows_, grain, [&](std::int64_t first, std::int64_t last) {
      T* own_scores = scores + at::get_thread_num() * score_count;
      for (std::int64_t task = first; task < last; ++task) {
        const std::int64_t head = task / rows_, row = task % rows_;
        const CachedSequence& sequence = *sequences[static_cast<std::size_t>(row)];
        const cpu::PagedHead<T> pages{keys(layer, head), values(layer, head), page_stride(), sequence.pages().data()};
        loops().attend_pages(qkv + row * config_.qkv_size() + head * group * h, group, h, pages, sequence.length(),
                             scale, own_scores, out + row * config_.attention_size() + head * group * h);
      }
    });
  }

  // Of the first rows of x_.
  at::Tensor logits(std::int64_t rows) {
    const T* normed = norm(x_.rows(rows_, config_.hidden_size), llama_.weights().final_norm_D, rows);
    product(normed, llama_.weights().head(), logits_.rows(rows, config_.vocab_size), rows, false);
    return logits_.matrix(rows, config_.vocab_size);
  }

  const Llama& llama_;
  const LlamaConfig& config_;
  KvCache& cache_;
  std::int64_t rows_ = 0;
  std::vector<double> frequencies_;
  std::vector<T> cos_, sin_;  // [rows, head_dim / 2]
  std::vector<Place> places_;
  Buffer<T> x_, normed_, inverse_, qkv_, attended_, gate_up_, activated_, scores_, logits_;
};

}  // namespace

std::unique_ptr<DecodeForward> make_loop_forward(const Llama& llama, KvCache& cache) {
  if (llama.dtype() == at::kFloat) return std::make_unique<LoopForward<float>>(llama, cache);
  return std::make_unique<LoopForward<double>>(llama, cache);
}

}  // namespace rrhf::model
