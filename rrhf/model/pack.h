// The packed layout: several queries in one row of tokens, each laid out once.
//
// A query is [prompt | r1 | r2 | ... | rk], without padding. A response attends to its prompt and to itself, its
// positions begin at |prompt|. The last token of a response predicts nothing, so it is a label but not an input:
// a response of n labels takes n - 1 places. Logits are made only at rows that predict a label: the prompt's last
// row, which predicts the k first tokens, and every response row.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace rrhf::model {

/// Rows [begin, begin + size) of a pack.
struct Segment {
  std::int64_t begin = 0;
  std::int64_t size = 0;
  std::int64_t end() const noexcept { return begin + size; }
};

/// The token ids of one query. Spans must live until the Pack is made. The prompt is not empty, no response is.
struct PackInput {
  std::span<const std::int32_t> prompt;
  std::vector<std::span<const std::int32_t>> responses;
};

/// Where one query lies in a pack.
struct PackedQuery {
  Segment prompt;
  std::vector<Segment> responses;  ///< of size labels - 1, so it can be 0
  std::int64_t longest = 0;        ///< longest prompt + response in tokens: what dynamic rotary scaling goes by

  /// All rows of the responses.
  Segment response_rows() const {
    return {prompt.end(), responses.empty() ? 0 : responses.back().end() - prompt.end()};
  }
};

/// The tensors of attention_sequences() (int32), named as there.
struct AttentionIndex {
  at::Tensor query_begin, key_begin, key_rows, copies_begin, places;
  std::int64_t longest_query = 0;
  std::int64_t longest_key = 0;
};

/// A pack and its index tensors (int64, on the device asked for). T: tokens, R: label rows, N: labels.
/// Labels are ordered by the row that predicts them. Responses are numbered over the whole pack.
struct Pack {
  std::vector<PackedQuery> queries;
  std::int64_t responses = 0;

  at::Tensor tokens_T;
  at::Tensor positions_T;
  at::Tensor rows_R;                     ///< rows of the pack that predict labels, ascending
  at::Tensor labels_N;                   ///< token ids
  at::Tensor label_row_N;                ///< index into rows_R
  std::vector<std::int64_t> response_N;  ///< which response the label belongs to
  std::vector<std::int64_t>
      label_begin_R;  ///< labels of row r are [label_begin_R[r], label_begin_R[r + 1]); R + 1 entries

  /// On a GPU, where one call is given a whole pack; undefined elsewhere.
  at::Tensor label_begin_P;  ///< label_begin_R
  AttentionIndex attention;

  std::int64_t token_count() const { return tokens_T.size(0); }
  std::int64_t label_count() const { return labels_N.size(0); }
};

/// Lays out the queries. What goes to a GPU goes in one transfer, which is queued and not waited for. Throws Error for
/// an empty prompt or response, or a query without response.
Pack make_pack(std::span<const PackInput> queries, at::Device device);

/// A pack to be read, not to predict: every token of a response is an input, rows_R are the last rows of the responses
/// in their order, and there are no labels. A response may be empty: its row is then the prompt's last.
/// Throws Error for an empty prompt or a query without response.
Pack make_reading_pack(std::span<const PackInput> queries, at::Device device);

}  // namespace rrhf::model
