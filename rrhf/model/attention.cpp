#include "rrhf/model/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>
#include <vector>

#include "rrhf/core/with_cuda.h"
#include "rrhf/model/cpu_kernels.h"
#include "rrhf/model/cuda_attention.h"
#include "rrhf/model/ops.h"
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

// Working memory of one thread, as large as the largest query needs. Below, T is computed in and E is how the matrices
// lie in memory: narrower for bfloat16 and float16, which are computed in float.
template <class T>
struct Scratch {
  std::vector<T> keys_MH, values_MH, keys_HM, values_HM, dkeys_MH, dvalues_MH, scores, dscores, normalizers;
  std::vector<T> tile_queries, tile_dout, tile_out;  // where T is not E
};

// A copy of `rows` strided rows as a matrix [rows, width].
template <class T, class E>
void gather(const E* from, std::int64_t stride, std::int64_t rows, std::int64_t width, std::vector<T>& to) {
  to.resize(static_cast<std::size_t>(rows * width));
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(from + i * stride, width, to.data() + i * width);
}

// The same as a matrix [width, rows], its rows `out_stride` apart.
template <class T, class E>
void gather_transposed(const E* from, std::int64_t stride, std::int64_t rows, std::int64_t width,
                       std::int64_t out_stride, std::vector<T>& to) {
  to.resize(static_cast<std::size_t>(width * out_stride));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < width; ++j) to[static_cast<std::size_t>(j * out_stride + i)] = from[i * stride + j];
  }
}

// Strided rows as they are computed with: where they lie, or a copy in `room`.
template <class T, class E>
cpu::Strided<T> rows_in(const E* from, std::int64_t stride, std::int64_t rows, std::int64_t width,
                        std::vector<T>& room) {
  if constexpr (std::is_same_v<T, E>) {
    return {from, stride, 1};
  } else {
    gather(from, stride, rows, width, room);
    return {room.data(), width, 1};
  }
}

template <class T, class E>
void scatter(const T* from, std::int64_t rows, std::int64_t width, E* to, std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i) std::copy_n(from + i * width, width, to + i * stride);
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

// The same into rows of E.
template <class T, class E>
void combine_into(const Tile& tile, const std::vector<T>& scores, std::int64_t stride, const std::vector<T>& b_MH,
                  std::int64_t width, E* out, std::int64_t out_stride, std::vector<T>& room) {
  if constexpr (std::is_same_v<T, E>) {
    combine(tile, scores.data(), stride, b_MH.data(), width, out, out_stride);
  } else {
    room.resize(static_cast<std::size_t>(tile.rows * width));
    combine(tile, scores.data(), stride, b_MH.data(), width, room.data(), width);
    scatter(room.data(), tile.rows, width, out, out_stride);
  }
}

// sums_MH += scores^T a, for the rows of the tile's keys.
template <class T>
void spread(const Tile& tile, const T* scores, std::int64_t stride, cpu::Strided<T> a, std::int64_t width, T* sums_MH) {
  const auto& product = cpu::kernels<T>().small_product;
  product({scores, 1, stride}, a.data, a.row_stride, sums_MH, width, tile.context, tile.rows, width, true);
  product({scores + tile.context, 1, stride}, a.data, a.row_stride, sums_MH + tile.segment * width, width, tile.own(),
          tile.rows, width, true);
}

template <class T>
T score_scale(const LlamaConfig& config) {
  return static_cast<T>(1 / std::sqrt(static_cast<double>(config.head_dim)));
}

template <class T, class E>
void attend(const HeadGroup& heads, const E* qkv, E* out, T* normalizers, Scratch<T>& scratch) {
  const std::int64_t rows = heads.row_count(), width = heads.width(), stride = whole_lanes(rows) + lanes;
  gather_transposed(heads.keys(qkv), heads.qkv_stride(), rows, width, stride, scratch.keys_HM);
  gather(heads.values(qkv), heads.qkv_stride(), rows, width, scratch.values_MH);
  scratch.scores.resize(static_cast<std::size_t>(tile_rows * stride));
  scratch.normalizers.resize(tile_rows);
  for_tiles(heads.query, [&](const Tile& tile) {
    for (std::int64_t member = 0; member < heads.group(); ++member) {
      const cpu::Strided<T> queries = rows_in(heads.queries(qkv, member) + tile.begin * heads.qkv_stride(),
                                              heads.qkv_stride(), tile.rows, width, scratch.tile_queries);
      score(tile, queries, scratch.keys_HM.data(), stride, width, scratch.scores.data(), stride);
      cpu::kernels<T>().causal_softmax(scratch.scores.data(), stride, tile.rows, tile.columns() - tile.rows + 1,
                                       tile.columns(), score_scale<T>(heads.config), scratch.normalizers.data());
      combine_into(tile, scratch.scores, stride, scratch.values_MH, width,
                   heads.out(out, member) + tile.begin * heads.out_stride(), heads.out_stride(), scratch.tile_out);
      T* normalizer = heads.normalizers(normalizers, member) + tile.begin * heads.config.num_attention_heads;
      for (std::int64_t i = 0; i < tile.rows; ++i) {
        normalizer[i * heads.config.num_attention_heads] = scratch.normalizers[static_cast<std::size_t>(i)];
      }
    }
  });
}

// One tile of one query head in the backward pass. Adds to the scratch's dkeys and dvalues, writes the head's dqueries.
template <class T, class E>
void attend_tile_backward(const HeadGroup& heads, std::int64_t member, const Tile& tile, std::int64_t stride,
                          const E* dout, const E* qkv, const T* normalizers, E* dqkv, Scratch<T>& scratch) {
  const std::int64_t width = heads.width(), q_stride = heads.qkv_stride(), n = heads.config.num_attention_heads;
  const T scale = score_scale<T>(heads.config);
  const cpu::Strided<T> queries =
      rows_in(heads.queries(qkv, member) + tile.begin * q_stride, q_stride, tile.rows, width, scratch.tile_queries);
  const cpu::Strided<T> dout_rows = rows_in(heads.out(dout, member) + tile.begin * heads.out_stride(),
                                            heads.out_stride(), tile.rows, width, scratch.tile_dout);
  const T* normalizer = heads.normalizers(normalizers, member) + tile.begin * n;
  for (std::int64_t i = 0; i < tile.rows; ++i) scratch.normalizers[static_cast<std::size_t>(i)] = normalizer[i * n];
  T *p = scratch.scores.data(), *ds = scratch.dscores.data();
  score(tile, queries, scratch.keys_HM.data(), stride, width, p, stride);
  cpu::kernels<T>().causal_softmax_again(p, stride, tile.rows, tile.columns() - tile.rows + 1, tile.columns(), scale,
                                         scratch.normalizers.data());
  spread(tile, p, stride, dout_rows, width, scratch.dvalues_MH.data());
  score(tile, dout_rows, scratch.values_HM.data(), stride, width, ds, stride);
  cpu::kernels<T>().softmax_backward(ds, p, stride, tile.rows, tile.columns(), scale);
  spread(tile, ds, stride, queries, width, scratch.dkeys_MH.data());
  combine_into(tile, scratch.dscores, stride, scratch.keys_MH, width,
               heads.queries(dqkv, member) + tile.begin * q_stride, q_stride, scratch.tile_out);
}

template <class T, class E>
void attend_backward(const HeadGroup& heads, const E* dout, const E* qkv, const T* normalizers, E* dqkv,
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
  scatter(scratch.dkeys_MH.data(), rows, width, heads.keys(dqkv), q_stride);
  scatter(scratch.dvalues_MH.data(), rows, width, heads.values(dqkv), q_stride);
}

// Calls visit(heads, scratch) for every key/value head of every query. The heads are shared out first, so that threads
// get equal work however different the queries are.
template <class T, class F>
void for_head_groups(const Pack& pack, const LlamaConfig& config, F&& visit) {
  const auto queries = std::ssize(pack.queries);
  at::parallel_for(0, config.num_key_value_heads * queries, 1, [&](std::int64_t first, std::int64_t last) {
    Scratch<T> scratch;
    for (std::int64_t i = first; i < last; ++i) {
      visit(HeadGroup{config, pack.queries[static_cast<std::size_t>(i % queries)], i / queries}, scratch);
    }
  });
}

bool runs_by_tiles(const at::Tensor& qkv_TQ) { return qkv_TQ.is_cpu() && qkv_TQ.is_contiguous(); }

// Calls visit with a value of the type that is computed in, and one of the tensor's.
template <class F>
at::Tensor with_types(const at::Tensor& x, F&& visit) {
  if (x.scalar_type() == at::kDouble) return visit(double{}, double{});
  if (x.scalar_type() == at::kBFloat16) return visit(float{}, at::BFloat16{});
  if (x.scalar_type() == at::kHalf) return visit(float{}, at::Half{});
  return visit(float{}, float{});
}

}  // namespace

Attended attention(const at::Tensor& qkv_TQ, const Pack& pack, const LlamaConfig& config, Room room) {
  if constexpr (with_cuda) {
    if (cuda::takes_attention(qkv_TQ, config)) return cuda::attention(qkv_TQ, pack, config);
  }
  if (!runs_by_tiles(qkv_TQ)) return {plain::attention(qkv_TQ, pack, config), {}};
  const auto wide = qkv_TQ.options().dtype(accumulation_type(qkv_TQ.scalar_type()));
  at::Tensor normalizer_TN = room.empty({qkv_TQ.size(0), config.num_attention_heads}, wide);
  at::Tensor out_TA = with_types(qkv_TQ, [&]<class T, class E>(T, E) {
    at::Tensor result_TA = room.empty({qkv_TQ.size(0), config.attention_size()}, qkv_TQ.options());
    const E* qkv = qkv_TQ.const_data_ptr<E>();
    E* out = result_TA.mutable_data_ptr<E>();
    T* normalizers = normalizer_TN.mutable_data_ptr<T>();
    for_head_groups<T>(pack, config, [&](const HeadGroup& heads, Scratch<T>& scratch) {
      attend(heads, qkv, out, normalizers, scratch);
    });
    return result_TA;
  });
  return {std::move(out_TA), std::move(normalizer_TN)};
}

at::Tensor attention_backward(const at::Tensor& dout_TA, const at::Tensor& qkv_TQ, const Attended& attended,
                              const Pack& pack, const LlamaConfig& config, bool deterministic, Room room) {
  if constexpr (with_cuda) {
    if (cuda::takes_attention(qkv_TQ, config)) {
      return cuda::attention_backward(dout_TA, qkv_TQ, attended, pack, config, deterministic);
    }
  }
  if (!runs_by_tiles(qkv_TQ)) return plain::attention_backward(dout_TA, qkv_TQ, pack, config);
  return with_types(qkv_TQ, [&]<class T, class E>(T, E) {
    at::Tensor dqkv_TQ = room.empty(qkv_TQ.sizes(), qkv_TQ.options());
    const E *dout = dout_TA.const_data_ptr<E>(), *qkv = qkv_TQ.const_data_ptr<E>();
    const T* normalizers = attended.normalizer_TN.const_data_ptr<T>();
    E* dqkv = dqkv_TQ.mutable_data_ptr<E>();
    for_head_groups<T>(pack, config, [&](const HeadGroup& heads, Scratch<T>& scratch) {
      attend_backward(heads, dout, qkv, normalizers, dqkv, scratch);
    });
    return dqkv_TQ;
  });
}

}  // namespace rrhf::model
