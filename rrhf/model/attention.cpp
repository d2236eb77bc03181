#include "rrhf/model/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "rrhf/model/cpu_dispatch.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/plain_attention.h"

namespace rrhf::model {
namespace {

// Query rows that are scored together: their scores against a few hundred keys stay in the cache.
constexpr std::int64_t tile_rows = 64;
// Columns of scores are computed in whole registers; what lies beyond the last key is written over or not read.
constexpr std::int64_t lanes = 16;

std::int64_t whole_lanes(std::int64_t columns) { return (columns + lanes - 1) / lanes * lanes; }

// Rows that ask, and what they may look at: the first `context` rows of their query, and of themselves what is not
// later. Rows are counted from the query's first.
struct Tile {
  std::int64_t context;
  std::int64_t segment;  // first row of the prompt or response
  std::int64_t begin;    // first row of the tile
  std::int64_t rows;

  std::int64_t own() const { return begin + rows - segment; }  // keys of the segment that the last row sees
  std::int64_t columns() const { return context + own(); }
};

template <class F>
void for_tiles(const PackedQuery& query, F&& visit) {
  const auto segment = [&](Segment rows, std::int64_t context) {
    const std::int64_t first = rows.begin - query.prompt.begin;
    for (std::int64_t at = 0; at < rows.size; at += tile_rows) {
      visit(Tile{context, first, first + at, std::min(tile_rows, rows.size - at)});
    }
  };
  segment(query.prompt, 0);
  for (const Segment& response : query.responses) segment(response, query.prompt.size);
}

// Where the heads of one key/value head lie in the rows of a query.
template <class T>
struct HeadGroup {
  const LlamaConfig& config;
  const PackedQuery& query;
  std::int64_t kv_head;

  std::int64_t group() const { return config.num_attention_heads / config.num_key_value_heads; }
  std::int64_t width() const { return config.head_dim; }
  std::int64_t row_count() const { return query.response_rows().end() - query.prompt.begin; }
  std::int64_t qkv_stride() const { return config.qkv_size(); }
  std::int64_t out_stride() const { return config.attention_size(); }
  std::int64_t head(std::int64_t member) const { return kv_head * group() + member; }

  template <class P>
  P* queries(P* qkv, std::int64_t member) const {
    return qkv + query.prompt.begin * qkv_stride() + head(member) * width();
  }
  template <class P>
  P* keys(P* qkv) const {
    return qkv + query.prompt.begin * qkv_stride() + out_stride() + kv_head * width();
  }
  template <class P>
  P* values(P* qkv) const {
    return keys(qkv) + config.num_key_value_heads * width();
  }
  template <class P>
  P* out(P* rows, std::int64_t member) const {
    return rows + query.prompt.begin * out_stride() + head(member) * width();
  }
  template <class P>
  P* normalizers(P* rows, std::int64_t member) const {
    return rows + query.prompt.begin * config.num_attention_heads + head(member);
  }
};

// Working memory of one thread, as large as the largest query needs.
template <class T>
struct Scratch {
  std::vector<T> keys_MH, values_MH, keys_HM, values_HM, dkeys_MH, dvalues_MH, scores, dscores, normalizers;
};

// A copy of `rows` strided rows as a matrix [rows, width].
template <class T>
void gather(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t width, std::vector<T>& to) {
  to.resize(static_cast<std::size_t>(rows * width));
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(from + i * stride, width, to.data() + i * width);
}

// The same as a matrix [width, rows], its rows `out_stride` apart.
template <class T>
void gather_transposed(const T* from, std::int64_t stride, std::int64_t rows, std::int64_t width,
                       std::int64_t out_stride, std::vector<T>& to) {
  to.resize(static_cast<std::size_t>(width * out_stride));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < width; ++j) to[static_cast<std::size_t>(j * out_stride + i)] = from[i * stride + j];
  }
}

// A tile's rows times the columns its keys have in b_HM: the context's, then its own.
template <class T>
void score(const Tile& tile, cpu::Strided<T> a, const T* b_HM, std::int64_t b_stride, std::int64_t width, T* scores,
           std::int64_t stride) {
  const auto& product = cpu::kernels<T>().small_product;
  if (tile.context > 0) product(a, b_HM, b_stride, scores, stride, tile.rows, width, whole_lanes(tile.context), false);
  product(a, b_HM + tile.segment, b_stride, scores + tile.context, stride, tile.rows, width, whole_lanes(tile.own()),
          false);
}

// A tile's scores times the rows its keys have in b_MH.
template <class T>
void combine(const Tile& tile, const T* scores, std::int64_t stride, const T* b_MH, std::int64_t width, T* out,
             std::int64_t out_stride) {
  const auto& product = cpu::kernels<T>().small_product;
  if (tile.context > 0) {
    product({scores, stride, 1}, b_MH, width, out, out_stride, tile.rows, tile.context, width, false);
  }
  product({scores + tile.context, stride, 1}, b_MH + tile.segment * width, width, out, out_stride, tile.rows,
          tile.own(), width, tile.context > 0);
}

// sums_MH += scores^T a, for the rows of the tile's keys.
template <class T>
void spread(const Tile& tile, const T* scores, std::int64_t stride, const T* a, std::int64_t a_stride,
            std::int64_t width, T* sums_MH) {
  const auto& product = cpu::kernels<T>().small_product;
  product({scores, 1, stride}, a, a_stride, sums_MH, width, tile.context, tile.rows, width, true);
  product({scores + tile.context, 1, stride}, a, a_stride, sums_MH + tile.segment * width, width, tile.own(), tile.rows,
          width, true);
}

template <class T>
T score_scale(const LlamaConfig& config) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(config.head_dim)));
}

template <class T>
void attend(const HeadGroup<T>& heads, const T* qkv, T* out, T* normalizers, Scratch<T>& scratch) {
  const std::int64_t rows = heads.row_count(), width = heads.width(), stride = whole_lanes(rows) + lanes;
  gather_transposed(heads.keys(qkv), heads.qkv_stride(), rows, width, stride, scratch.keys_HM);
  gather(heads.values(qkv), heads.qkv_stride(), rows, width, scratch.values_MH);
  scratch.scores.resize(static_cast<std::size_t>(tile_rows * stride));
  scratch.normalizers.resize(tile_rows);
  for_tiles(heads.query, [&](const Tile& tile) {
    for (std::int64_t member = 0; member < heads.group(); ++member) {
      const T* queries = heads.queries(qkv, member) + tile.begin * heads.qkv_stride();
      score<T>(tile, {queries, heads.qkv_stride(), 1}, scratch.keys_HM.data(), stride, width, scratch.scores.data(),
               stride);
      cpu::kernels<T>().causal_softmax(scratch.scores.data(), stride, tile.rows, tile.columns() - tile.rows + 1,
                                       tile.columns(), score_scale<T>(heads.config), scratch.normalizers.data());
      combine<T>(tile, scratch.scores.data(), stride, scratch.values_MH.data(), width,
                 heads.out(out, member) + tile.begin * heads.out_stride(), heads.out_stride());
      T* normalizer = heads.normalizers(normalizers, member) + tile.begin * heads.config.num_attention_heads;
      for (std::int64_t i = 0; i < tile.rows; ++i) {
        normalizer[i * heads.config.num_attention_heads] = scratch.normalizers[static_cast<std::size_t>(i)];
      }
    }
  });
}

// One tile of one query head in the backward pass. Adds to the scratch's dkeys and dvalues, writes the head's dqueries.
template <class T>
void attend_tile_backward(const HeadGroup<T>& heads, std::int64_t member, const Tile& tile, std::int64_t stride,
                          const T* dout, const T* qkv, const T* normalizers, T* dqkv, Scratch<T>& scratch) {
  const std::int64_t width = heads.width(), q_stride = heads.qkv_stride(), n = heads.config.num_attention_heads;
  const T scale = score_scale<T>(heads.config);
  const T* queries = heads.queries(qkv, member) + tile.begin * q_stride;
  const T* dout_rows = heads.out(dout, member) + tile.begin * heads.out_stride();
  const T* normalizer = heads.normalizers(normalizers, member) + tile.begin * n;
  for (std::int64_t i = 0; i < tile.rows; ++i) scratch.normalizers[static_cast<std::size_t>(i)] = normalizer[i * n];
  T *p = scratch.scores.data(), *ds = scratch.dscores.data();
  score<T>(tile, {queries, q_stride, 1}, scratch.keys_HM.data(), stride, width, p, stride);
  cpu::kernels<T>().causal_softmax_again(p, stride, tile.rows, tile.columns() - tile.rows + 1, tile.columns(), scale,
                                         scratch.normalizers.data());
  spread<T>(tile, p, stride, dout_rows, heads.out_stride(), width, scratch.dvalues_MH.data());
  score<T>(tile, {dout_rows, heads.out_stride(), 1}, scratch.values_HM.data(), stride, width, ds, stride);
  cpu::kernels<T>().softmax_backward(ds, p, stride, tile.rows, tile.columns(), scale);
  spread<T>(tile, ds, stride, queries, q_stride, width, scratch.dkeys_MH.data());
  combine<T>(tile, ds, stride, scratch.keys_MH.data(), width, heads.queries(dqkv, member) + tile.begin * q_stride,
             q_stride);
}

template <class T>
void attend_backward(const HeadGroup<T>& heads, const T* dout, const T* qkv, const T* normalizers, T* dqkv,
                     Scratch<T>& scratch) {
  const std::int64_t rows = heads.row_count(), width = heads.width(), stride = whole_lanes(rows) + lanes;
  const std::int64_t q_stride = heads.qkv_stride();
  gather_transposed(heads.keys(qkv), q_stride, rows, width, stride, scratch.keys_HM);
  gather_transposed(heads.values(qkv), q_stride, rows, width, stride, scratch.values_HM);
  gather(heads.keys(qkv), q_stride, rows, width, scratch.keys_MH);
  scratch.scores.resize(static_cast<std::size_t>(tile_rows * stride));
  scratch.dscores.resize(static_cast<std::size_t>(tile_rows * stride));
  scratch.normalizers.resize(tile_rows);
  scratch.dkeys_MH.assign(static_cast<std::size_t>(rows * width), T(0));
  scratch.dvalues_MH.assign(static_cast<std::size_t>(rows * width), T(0));
  for_tiles(heads.query, [&](const Tile& tile) {
    for (std::int64_t member = 0; member < heads.group(); ++member) {
      attend_tile_backward(heads, member, tile, stride, dout, qkv, normalizers, dqkv, scratch);
    }
  });
  for (std::int64_t i = 0; i < rows; ++i) {
    std::copy_n(scratch.dkeys_MH.data() + i * width, width, heads.keys(dqkv) + i * q_stride);
    std::copy_n(scratch.dvalues_MH.data() + i * width, width, heads.values(dqkv) + i * q_stride);
  }
}

// Calls visit(heads, scratch) for every key/value head of every query. The heads are shared out first, so that threads
// get equal work however different the queries are.
template <class T, class F>
void for_head_groups(const Pack& pack, const LlamaConfig& config, F&& visit) {
  const auto queries = std::ssize(pack.queries);
  at::parallel_for(0, config.num_key_value_heads * queries, 1, [&](std::int64_t first, std::int64_t last) {
    Scratch<T> scratch;
    for (std::int64_t i = first; i < last; ++i) {
      visit(HeadGroup<T>{config, pack.queries[static_cast<std::size_t>(i % queries)], i / queries}, scratch);
    }
  });
}

bool runs_by_tiles(const at::Tensor& qkv_TQ) { return has_kernels(qkv_TQ) && qkv_TQ.is_contiguous(); }

template <class T>
Attended attention_by_tiles(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config) {
  Attended result{at::empty({qkv_TQ.size(0), config.attention_size()}, qkv_TQ.options()),
                  at::empty({qkv_TQ.size(0), config.num_attention_heads}, qkv_TQ.options())};
  const T* qkv = qkv_TQ.const_data_ptr<T>();
  T *out = result.out_TA.mutable_data_ptr<T>(), *normalizers = result.normalizer_TN.mutable_data_ptr<T>();
  for_head_groups<T>(pack, config, [&](const HeadGroup<T>& heads, Scratch<T>& scratch) {
    attend(heads, qkv, out, normalizers, scratch);
  });
  return result;
}

template <class T>
at::Tensor attention_backward_by_tiles(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ,
                                       const at::Tensor& normalizer_TN, const Pack& pack, const LlamaConfig& config) {
  at::Tensor dqkv_TQ = at::empty_like(qkv_TQ);
  const T *dout = dout_TA.const_data_ptr<T>(), *qkv = qkv_TQ.const_data_ptr<T>();
  const T* normalizers = normalizer_TN.const_data_ptr<T>();
  T* dqkv = dqkv_TQ.mutable_data_ptr<T>();
  for_head_groups<T>(pack, config, [&](const HeadGroup<T>& heads, Scratch<T>& scratch) {
    attend_backward(heads, dout, qkv, normalizers, dqkv, scratch);
  });
  return dqkv_TQ;
}

}  // namespace

Attended attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config) {
  if (!runs_by_tiles(qkv_TQ)) return {plain::attention(qkv_TQ, pack, config), {}};
  return qkv_TQ.scalar_type() == at::kFloat ? attention_by_tiles<float>(qkv_TQ, pack, config)
                                            : attention_by_tiles<double>(qkv_TQ, pack, config);
}

at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const at::Tensor& normalizer_TN,
                              const Pack& pack, const LlamaConfig& config) {
  if (!runs_by_tiles(qkv_TQ)) return plain::attention_backward(dout_TA, qkv_TQ, pack, config);
  return qkv_TQ.scalar_type() == at::kFloat
             ? attention_backward_by_tiles<float>(dout_TA, qkv_TQ, normalizer_TN, pack, config)
             : attention_backward_by_tiles<double>(dout_TA, qkv_TQ, normalizer_TN, pack, config);
}

}  // namespace rrhf::model
