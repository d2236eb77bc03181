#include "rrhf/model/attention_sequences.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/model/plain_attention.h"

namespace rrhf::model {
namespace {

using Numbers = std::vector<std::int32_t>;

TEST(AttentionSequences, OfTwoQueries) {
  // [p p | a a a | b] and [q | c]; a response without rows between them.
  const std::vector<PackedQuery> queries{{.prompt = {0, 2}, .responses = {{2, 3}, {5, 0}, {5, 1}}, .longest = 6},
                                         {.prompt = {6, 1}, .responses = {{7, 1}}, .longest = 3}};
  const AttentionSequences sequences = attention_sequences(queries);
  EXPECT_EQ(sequences.query_begin, (Numbers{0, 2, 5, 6, 7, 8}));
  EXPECT_EQ(sequences.key_rows, (Numbers{0, 1, 0, 1, 2, 3, 4, 0, 1, 5, 6, 6, 7}));
  EXPECT_EQ(sequences.key_begin, (Numbers{0, 2, 7, 10, 11, 13}));
  EXPECT_EQ(sequences.copies_begin, (Numbers{0, 3, 6, 7, 8, 9, 10, 12, 13}));
  EXPECT_EQ(sequences.places, (Numbers{0, 2, 7, 1, 3, 8, 4, 5, 6, 9, 10, 11, 12}));
  EXPECT_EQ(sequences.longest_query, 3);
  EXPECT_EQ(sequences.longest_key, 5);
}

// One sequence after the other, its last row seeing all keys: what a variable-length call computes.
at::Tensor one_by_one(const at::Tensor& qkv_TQ, const AttentionSequences& sequences, const LlamaConfig& config) {
  const std::int64_t width = config.head_dim, heads = config.num_attention_heads;
  at::Tensor out = at::empty({qkv_TQ.size(0), heads * width}, qkv_TQ.options());
  for (std::size_t s = 0; s + 1 < sequences.query_begin.size(); ++s) {
    const std::int64_t first = sequences.query_begin[s], rows = sequences.query_begin[s + 1] - first;
    const std::int64_t begin = sequences.key_begin[s], keys = sequences.key_begin[s + 1] - begin;
    const at::Tensor index = at::tensor(sequences.key_rows).narrow(0, begin, keys);
    const at::Tensor from = qkv_TQ.index_select(0, index);
    for (std::int64_t h = 0; h < heads; ++h) {
      const at::Tensor q = qkv_TQ.narrow(0, first, rows).narrow(1, h * width, width);
      const at::Tensor k = from.narrow(1, (heads + h) * width, width),
                       v = from.narrow(1, (2 * heads + h) * width, width);
      const at::Tensor later = at::ones({rows, keys}, at::kBool).triu(keys - rows + 1);
      const at::Tensor scores = at::mm(q, k.t()).div(std::sqrt(width)).masked_fill(later, -INFINITY);
      out.narrow(0, first, rows).narrow(1, h * width, width).copy_(at::mm(scores.softmax(-1), v));
    }
  }
  return out;
}

TEST(AttentionSequences, GiveTheAttentionOfAPack) {
  at::manual_seed(2);
  LlamaConfig config;
  config.num_attention_heads = config.num_key_value_heads = 2;
  config.head_dim = 4;
  const std::vector<std::int32_t> five(5, 1), three(3, 1), one(1, 1);
  const std::vector<PackInput> inputs{{five, {three, one, five}}, {one, {five}}, {three, {one}}};
  const Pack pack = make_pack(inputs, at::kCPU);
  const at::Tensor qkv = at::randn({pack.token_count(), config.qkv_size()}, at::kDouble);
  EXPECT_TRUE(at::allclose(one_by_one(qkv, attention_sequences(pack.queries), config),
                           plain::attention(qkv, pack, config), 0, 1e-12));
}

}  // namespace
}  // namespace rrhf::model
