#include "rrhf/model/cuda_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <tuple>

#include "rrhf/model/cuda_binding.h"
#include "rrhf/model/cuda_ops.h"

namespace rrhf::model::cuda {
namespace {

constexpr std::int64_t widest_head = 256, head_multiple = 8;

double score_scale(const LlamaConfig& config) { return 1 / std::sqrt(static_cast<double>(config.head_dim)); }

// Rows of a matrix as heads.
at::Tensor heads_of(const at::Tensor& x_TI, std::int64_t begin, std::int64_t heads, const LlamaConfig& config) {
  return x_TI.narrow(1, begin, heads * config.head_dim).unflatten(1, {heads, config.head_dim});
}

// Keys and values of the sequences, one behind the other: views into one gathered matrix.
struct KeysAndValues {
  at::Tensor keys_CKH, values_CKH;
};

KeysAndValues gathered(const at::Tensor& qkv_TQ, const AttentionIndex& index, const LlamaConfig& config) {
  const std::int64_t kv = config.num_key_value_heads, width = kv * config.head_dim, copies = index.key_rows.size(0);
  const at::Tensor both_C2 = at::empty({copies, 2 * width}, qkv_TQ.options());
  const at::Tensor from_T2 = qkv_TQ.narrow(1, config.attention_size(), 2 * width);
  gather_rows(from_T2, index.key_rows, both_C2);
  return {heads_of(both_C2, 0, kv, config), heads_of(both_C2, width, kv, config)};
}

// Has ATen take the sums of flash attention's backward pass in one order while this lives. The settings are the
// process's; the thread that lays packs out meanwhile allocates memory and no more, which they leave alone.
class OrderOfSums {
 public:
  explicit OrderOfSums(bool deterministic)
      : before_(at::globalContext().deterministicAlgorithms()),
        warned_before_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        filled_before_(at::globalContext().deterministicFillUninitializedMemory()) {
    at::globalContext().setDeterministicFillUninitializedMemory(false);  // new memory is written, not read
    at::globalContext().setDeterministicAlgorithms(deterministic, /*warn_only=*/false);
  }
  ~OrderOfSums() {
    at::globalContext().setDeterministicAlgorithms(before_, warned_before_);
    at::globalContext().setDeterministicFillUninitializedMemory(filled_before_);
  }
  OrderOfSums(const OrderOfSums&) = delete;
  OrderOfSums& operator=(const OrderOfSums&) = delete;

 private:
  bool before_, warned_before_, filled_before_;
};

}  // namespace

bool takes_attention(const at::Tensor& qkv_TQ, const LlamaConfig& config) {
  return takes(qkv_TQ) && qkv_TQ.scalar_type() != at::kFloat && config.head_dim <= widest_head &&
         config.head_dim % head_multiple == 0;
}

Attended attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config) {
  const AttentionIndex& index = pack.attention;
  const KeysAndValues from = gathered(qkv_TQ, index, config);
  auto [out_TNH, normalizer_NT, state, unused, mask] = at::_flash_attention_forward(
      heads_of(qkv_TQ, 0, config.num_attention_heads, config), from.keys_CKH, from.values_CKH, index.query_begin,
      index.key_begin, index.longest_query, index.longest_key, /*dropout_p=*/0, /*is_causal=*/true,
      /*return_debug_mask=*/false, score_scale(config));
  return {out_TNH.flatten(1), normalizer_NT.t().contiguous()};
}

at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const Attended& attended,
                              const Pack& pack, const LlamaConfig& config, bool deterministic) {
  const AttentionIndex& index = pack.attention;
  const std::int64_t heads = config.num_attention_heads, kv_width = config.num_key_value_heads * config.head_dim;
  const KeysAndValues from = gathered(qkv_TQ, index, config);
  const at::Tensor no_dropout = at::zeros({2}, qkv_TQ.options().dtype(at::kUInt64));
  const at::Tensor unused = at::empty({0}, qkv_TQ.options());
  const OrderOfSums order(deterministic);
  const auto [dq_TNH, dk_CKH, dv_CKH] = at::_flash_attention_backward(
      heads_of(dout_TA, 0, heads, config), heads_of(qkv_TQ, 0, heads, config), from.keys_CKH, from.values_CKH,
      heads_of(attended.out_TA, 0, heads, config), attended.normalizer_TN.t().contiguous(), index.query_begin,
      index.key_begin, index.longest_query, index.longest_key, /*dropout_p=*/0, /*is_causal=*/true, no_dropout, unused,
      score_scale(config));
  at::Tensor dqkv_TQ = at::empty_like(qkv_TQ);
  const at::Tensor dq_TA = dq_TNH.contiguous(), dk = dk_CKH.contiguous(), dv = dv_CKH.contiguous();
  collect_gradients(rows_of(dqkv_TQ),
                    {.dq = dq_TA.const_data_ptr(),
                     .dk = dk.const_data_ptr(),
                     .dv = dv.const_data_ptr(),
                     .begin = index.copies_begin.const_data_ptr<std::int32_t>(),
                     .places = index.places.const_data_ptr<std::int32_t>(),
                     .query_width = config.attention_size(),
                     .kv_width = kv_width},
                    dqkv_TQ.mutable_data_ptr());
  return dqkv_TQ;
}

}  // namespace rrhf::model::cuda
