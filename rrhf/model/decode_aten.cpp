// Decoding by ATen's operations: for any device and dtype, and what the loops of decode_loops.cpp are tested against.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "rrhf/model/decode_forward.h"
#include "rrhf/model/decoder_layer.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/upload.h"

namespace rrhf::model {
namespace {

using Indices = std::vector<std::int64_t>;

// Where rows lie in the cache: page and place in it.
struct Places {
  at::Tensor page_N, slot_N;
};

// B: sequences, W: pages of the longest.
struct PageTable {
  at::Tensor pages_BW;     ///< filled up with any page, one row behind the other
  at::Tensor beyond_B11M;  ///< true for positions that a sequence has not
};

// The same on the host, and the sequences' lengths.
struct PageLists {
  Indices pages_BW, lengths_B;
  std::int64_t width = 0;
};

class AtenForward final : public DecodeForward {
 public:
  AtenForward(const Llama& llama, KvCache& cache) : llama_(llama), cache_(cache) {}

  at::Tensor prefill(const Pack& pack, std::span<const CachedSequence> sequences) override {
    Indices pages, slots;
    for (const CachedSequence& sequence : sequences) {
      for (std::int64_t at = 0; at < sequence.length(); ++at) add_place(sequence, at, pages, slots);
    }
    Places places;
    Upload upload;
    upload.add(pages, places.page_N);
    upload.add(slots, places.slot_N);
    upload.send(llama_.device());
    const RotaryTable rotary = rotary_table(pack, llama_.config(), llama_.dtype());
    const LayerContext context{pack, rotary, llama_.config()};
    at::Tensor x_TD = llama_.weights().embedding_VD.index_select(0, pack.tokens_T);
    for (std::size_t layer = 0; layer < llama_.weights().layers.size(); ++layer) {
      LayerSaved saved;
      x_TD = layer_forward(std::move(x_TD), llama_.weights().layers[layer], context, &saved);
      store(saved.qkv_TQ, static_cast<std::int64_t>(layer), places);
    }
    return logits(x_TD.index_select(0, pack.rows_R));
  }

  at::Tensor step(std::span<CachedSequence* const> sequences, std::span<const std::int32_t> tokens) override {
    Indices pages, slots, positions;
    for (const CachedSequence* sequence : sequences) {
      positions.push_back(sequence->length() - 1);
      add_place(*sequence, positions.back(), pages, slots);
    }
    const Indices ids(tokens.begin(), tokens.end());
    const std::vector<double> angles = rotary_angles_of_steps(positions, llama_.config());
    const PageLists lists = page_lists(sequences);
    Places places;
    PageTable table;
    at::Tensor ids_N, lengths_B, angles_there;
    Upload upload;
    upload.add(pages, places.page_N);
    upload.add(slots, places.slot_N);
    upload.add(ids, ids_N);
    upload.add(lists.pages_BW, table.pages_BW);
    upload.add(lists.lengths_B, lengths_B);
    upload.add(angles, angles_there);
    upload.send(llama_.device());
    table.beyond_B11M = beyond(lengths_B, lists.width * KvCache::page_size);
    const RotaryTable rotary = rotary_table_of_angles(angles_there, llama_.config(), llama_.dtype());
    at::Tensor x_ND = llama_.weights().embedding_VD.index_select(0, ids_N);
    for (std::size_t i = 0; i < llama_.weights().layers.size(); ++i) {
      const LayerWeights& weights = llama_.weights().layers[i];
      const auto layer = static_cast<std::int64_t>(i);
      at::Tensor qkv_NQ = project(rms_norm(x_ND, weights.input_norm_D, epsilon()).y_TD, weights.qkv_QD);
      apply_rotary(qkv_NQ, rotary, llama_.config(), false);
      store(qkv_NQ, layer, places);
      at::Tensor middle_ND = project(attend(qkv_NQ, layer, table), weights.output_DA);
      const at::Tensor mlp_in_ND = add_rms_norm(middle_ND, x_ND, weights.post_norm_D, epsilon()).y_TD;
      x_ND = project(swiglu(project(mlp_in_ND, weights.gate_up_2FD)), weights.down_DF).add_(middle_ND);
    }
    return logits(x_ND);
  }

 private:
  double epsilon() const { return llama_.config().rms_norm_eps; }

  static void add_place(const CachedSequence& sequence, std::int64_t position, Indices& pages, Indices& slots) {
    pages.push_back(sequence.pages()[static_cast<std::size_t>(position / KvCache::page_size)]);
    slots.push_back(position % KvCache::page_size);
  }

  static PageLists page_lists(std::span<CachedSequence* const> sequences) {
    PageLists lists;
    for (const CachedSequence* sequence : sequences) lists.width = std::max(lists.width, std::ssize(sequence->pages()));
    for (const CachedSequence* sequence : sequences) {
      Indices& pages = lists.pages_BW;
      pages.insert(pages.end(), sequence->pages().begin(), sequence->pages().end());
      pages.insert(pages.end(), static_cast<std::size_t>(lists.width - std::ssize(sequence->pages())), 0);
      lists.lengths_B.push_back(sequence->length());
    }
    return lists;
  }

  // Which of `positions` columns lie beyond each sequence.
  static at::Tensor beyond(const at::Tensor& lengths_B, std::int64_t positions) {
    return (at::arange(positions, lengths_B.options()).unsqueeze(0) >= lengths_B.unsqueeze(1))
        .unsqueeze(1)
        .unsqueeze(1);
  }

  // Writes the keys and values of rows to their places.
  void store(const at::Tensor& qkv_NQ, std::int64_t layer, const Places& places) const {
    const LlamaConfig& config = llama_.config();
    const std::int64_t kv = config.num_key_value_heads, h = config.head_dim, n = qkv_NQ.size(0);
    const at::Tensor keys_NKH = qkv_NQ.narrow(1, config.attention_size(), kv * h).view({n, kv, h});
    const at::Tensor values_NKH = qkv_NQ.narrow(1, config.attention_size() + kv * h, kv * h).view({n, kv, h});
    using Index = c10::List<std::optional<at::Tensor>>;
    cache_.keys_PLKHS().select(1, layer).index_put_(Index({places.page_N, std::nullopt, std::nullopt, places.slot_N}),
                                                    keys_NKH);
    cache_.values_PLKSH().select(1, layer).index_put_(Index({places.page_N, std::nullopt, places.slot_N, std::nullopt}),
                                                      values_NKH);
  }

  // The heads' outputs of one row a sequence, over a copy of its pages. G: query heads a key/value head, M: positions.
  at::Tensor attend(const at::Tensor& qkv_NQ, std::int64_t layer, const PageTable& table) const {
    const LlamaConfig& config = llama_.config();
    const std::int64_t kv = config.num_key_value_heads, h = config.head_dim, n = qkv_NQ.size(0);
    const std::int64_t group = config.num_attention_heads / kv, s = KvCache::page_size, m = table.beyond_B11M.size(3);
    const at::Tensor queries = qkv_NQ.narrow(1, 0, config.attention_size()).reshape({n * kv, group, h});
    const at::Tensor keys = cache_.keys_PLKHS()
                                .select(1, layer)
                                .index_select(0, table.pages_BW)
                                .view({n, m / s, kv, h, s})
                                .permute({0, 2, 3, 1, 4})
                                .reshape({n * kv, h, m});
    const at::Tensor values = cache_.values_PLKSH()
                                  .select(1, layer)
                                  .index_select(0, table.pages_BW)
                                  .view({n, m / s, kv, s, h})
                                  .transpose(1, 2)
                                  .reshape({n * kv, m, h});
    at::Tensor scores = at::bmm(queries, keys).mul_(1 / std::sqrt(static_cast<double>(h)));
    scores.view({n, kv, group, m}).masked_fill_(table.beyond_B11M, -std::numeric_limits<double>::infinity());
    const at::Tensor p = at::softmax(scores, -1, accumulation_type(scores.scalar_type())).to(scores.scalar_type());
    return at::bmm(p, values).view({n, config.attention_size()});
  }

  at::Tensor logits(const at::Tensor& x_ND) const {
    const at::Tensor logits_NV =
        project(rms_norm(x_ND, llama_.weights().final_norm_D, epsilon()).y_TD, llama_.weights().head());
    return logits_NV.to(accumulation_type(logits_NV.scalar_type()));
  }

  const Llama& llama_;
  KvCache& cache_;
};

}  // namespace

std::unique_ptr<DecodeForward> make_aten_forward(const Llama& llama, KvCache& cache) {
  return std::make_unique<AtenForward>(llama, cache);
}

}  // namespace rrhf::model
