#include "rrhf/model/attention_sequences.h"

#include <algorithm>

namespace rrhf::model {
namespace {

void add_sequence(Segment rows, Segment context, AttentionSequences& sequences) {
  const auto add_keys = [&](Segment keys) {
    for (std::int64_t row = keys.begin; row < keys.end(); ++row) {
      sequences.key_rows.push_back(static_cast<std::int32_t>(row));
    }
  };
  add_keys(context);
  add_keys(rows);
  sequences.query_begin.push_back(static_cast<std::int32_t>(rows.end()));
  sequences.key_begin.push_back(static_cast<std::int32_t>(sequences.key_rows.size()));
  sequences.longest_query = std::max(sequences.longest_query, rows.size);
  sequences.longest_key = std::max(sequences.longest_key, context.size + rows.size);
}

// Copies by the row they are of: counted, then put in their places.
void sort_copies(AttentionSequences& sequences) {
  std::vector<std::int32_t>& begin = sequences.copies_begin;
  begin.assign(static_cast<std::size_t>(sequences.query_begin.back()) + 1, 0);
  for (const std::int32_t row : sequences.key_rows) ++begin[static_cast<std::size_t>(row) + 1];
  for (std::size_t row = 1; row < begin.size(); ++row) begin[row] += begin[row - 1];
  std::vector<std::int32_t> next(begin.begin(), begin.end() - 1);
  sequences.places.resize(sequences.key_rows.size());
  for (std::size_t copy = 0; copy < sequences.key_rows.size(); ++copy) {
    const auto row = static_cast<std::size_t>(sequences.key_rows[copy]);
    sequences.places[static_cast<std::size_t>(next[row]++)] = static_cast<std::int32_t>(copy);
  }
}

}  // namespace

AttentionSequences attention_sequences(std::span<const PackedQuery> queries) {
  AttentionSequences sequences{.query_begin = {0}, .key_begin = {0}};
  for (const PackedQuery& query : queries) {
    add_sequence(query.prompt, {query.prompt.begin, 0}, sequences);
    for (const Segment& response : query.responses) {
      if (response.size > 0) add_sequence(response, query.prompt, sequences);
    }
  }
  sort_copies(sequences);
  return sequences;
}

}  // namespace rrhf::model
