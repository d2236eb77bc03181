#include "rrhf/model/plain_attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

namespace rrhf::model::plain {
namespace {

// The query, key and value heads of rows of a [T, Q] matrix, as views. K: kv heads, G: query heads per kv head, H:
// head_dim.
class HeadViews {
 public:
  HeadViews(const at::Tensor& qkv_TQ, const LlamaConfig& config)
      : group_(config.num_attention_heads / config.num_key_value_heads) {
    const std::int64_t kv = config.num_key_value_heads, h = config.head_dim, t = qkv_TQ.size(0);
    queries_TKGH_ = qkv_TQ.narrow(1, 0, config.attention_size()).view({t, kv, group_, h});
    keys_TKH_ = qkv_TQ.narrow(1, config.attention_size(), kv * h).view({t, kv, h});
    values_TKH_ = qkv_TQ.narrow(1, config.attention_size() + kv * h, kv * h).view({t, kv, h});
  }

  /// [K, G * n, H]: the group's heads stand below one another, so that one product serves them all.
  at::Tensor queries(Segment rows) const { return stack_group(queries_TKGH_.narrow(0, rows.begin, rows.size)); }

  /// [K, m, H] over the rows of both segments.
  at::Tensor keys(Segment first, Segment second) const { return join(keys_TKH_, first, second); }
  at::Tensor values(Segment first, Segment second) const { return join(values_TKH_, first, second); }

  void write_queries(Segment rows, const at::Tensor& gradient) {
    queries_TKGH_.narrow(0, rows.begin, rows.size).copy_(unstack_group(gradient, rows.size));
  }
  void add_keys(Segment first, Segment second, const at::Tensor& gradient) { add(keys_TKH_, first, second, gradient); }
  void add_values(Segment first, Segment second, const at::Tensor& gradient) {
    add(values_TKH_, first, second, gradient);
  }

  static at::Tensor stack_group(const at::Tensor& x_nKGH) {
    return x_nKGH.permute({1, 2, 0, 3}).reshape({x_nKGH.size(1), -1, x_nKGH.size(3)});
  }
  at::Tensor unstack_group(const at::Tensor& x, std::int64_t rows) const {
    return x.view({x.size(0), group_, rows, x.size(2)}).permute({2, 0, 1, 3});
  }

 private:
  static at::Tensor join(const at::Tensor& heads_TKH, Segment first, Segment second) {
    const at::Tensor head = heads_TKH.narrow(0, first.begin, first.size);
    if (second.size == 0) return head.transpose(0, 1);
    return at::cat({head, heads_TKH.narrow(0, second.begin, second.size)}).transpose(0, 1);
  }
  static void add(at::Tensor& heads_TKH, Segment first, Segment second, const at::Tensor& gradient_KmH) {
    const at::Tensor rows = gradient_KmH.transpose(0, 1);
    heads_TKH.narrow(0, first.begin, first.size).add_(rows.narrow(0, 0, first.size));
    if (second.size > 0) heads_TKH.narrow(0, second.begin, second.size).add_(rows.narrow(0, first.size, second.size));
  }

  std::int64_t group_;
  at::Tensor queries_TKGH_, keys_TKH_, values_TKH_;
};

// Rows that ask, and the two runs of rows they may look at: all of `context`, and of themselves what is not later.
struct Block {
  Segment rows;
  Segment context;
};

template <class F>
void for_each_block(const Pack& pack, F&& visit) {
  for (const PackedQuery& query : pack.queries) {
    visit(Block{.rows = query.prompt, .context = {query.prompt.begin, 0}});
    for (const Segment& response : query.responses) {
      if (response.size > 0) visit(Block{.rows = response, .context = query.prompt});
    }
  }
}

// The probabilities of a block, [K, G * n, c + n], softmax in the accumulation dtype.
at::Tensor probabilities(const HeadViews& heads, const Block& block, double scale) {
  const at::Tensor queries = heads.queries(block.rows);
  at::Tensor scores = at::bmm(queries, heads.keys(block.context, block.rows).transpose(1, 2));
  const at::Tensor later = at::ones({block.rows.size, block.rows.size}, scores.options().dtype(at::kBool)).triu_(1);
  const std::int64_t kv = scores.size(0), n = block.rows.size;
  scores.mul_(scale);
  scores.view({kv, -1, n, scores.size(2)})
      .narrow(3, block.context.size, n)
      .masked_fill_(later, -std::numeric_limits<double>::infinity());
  const bool narrow = scores.scalar_type() == at::kBFloat16 || scores.scalar_type() == at::kHalf;
  return narrow ? at::softmax(scores, -1, at::kFloat).to(scores.scalar_type()) : at::softmax(scores, -1);
}

double score_scale(const LlamaConfig& config) { return 1 / std::sqrt(static_cast<double>(config.head_dim)); }

}  // namespace

at::Tensor attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config) {
  const HeadViews heads(qkv_TQ, config);
  const double scale = score_scale(config);
  at::Tensor out_TA = at::empty({qkv_TQ.size(0), config.attention_size()}, qkv_TQ.options());
  const at::Tensor out_TKGH = out_TA.view(
      {-1, config.num_key_value_heads, config.num_attention_heads / config.num_key_value_heads, config.head_dim});
  for_each_block(pack, [&](const Block& block) {
    const at::Tensor p = probabilities(heads, block, scale);
    const at::Tensor out = at::bmm(p, heads.values(block.context, block.rows));
    out_TKGH.narrow(0, block.rows.begin, block.rows.size).copy_(heads.unstack_group(out, block.rows.size));
  });
  return out_TA;
}

at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const Pack& pack,
                              const LlamaConfig& config) {
  const HeadViews heads(qkv_TQ, config);
  const double scale = score_scale(config);
  at::Tensor gradient_TQ = at::zeros_like(qkv_TQ);
  HeadViews gradients(gradient_TQ, config);
  const at::Tensor dout_TKGH = dout_TA.view(
      {-1, config.num_key_value_heads, config.num_attention_heads / config.num_key_value_heads, config.head_dim});
  for_each_block(pack, [&](const Block& block) {
    const at::Tensor p = probabilities(heads, block, scale);
    const at::Tensor dout = HeadViews::stack_group(dout_TKGH.narrow(0, block.rows.begin, block.rows.size));
    gradients.add_values(block.context, block.rows, at::bmm(p.transpose(1, 2), dout));
    const at::Tensor dp = at::bmm(dout, heads.values(block.context, block.rows).transpose(1, 2));
    const at::Tensor ds = at::_softmax_backward_data(dp, p, -1, p.scalar_type()).mul_(scale);
    gradients.write_queries(block.rows, at::bmm(ds, heads.keys(block.context, block.rows)));
    gradients.add_keys(block.context, block.rows, at::bmm(ds.transpose(1, 2), heads.queries(block.rows)));
  });
  return gradient_TQ;
}

}  // namespace rrhf::model::plain
