// A pack as the sequences that a variable-length attention call takes: so that one call serves a whole pack.
//
// Every prompt is a sequence that looks at itself; every response is one that looks at its prompt and itself. A call
// takes keys one sequence behind the other, so a prompt's keys stand there once for itself and once a response: copies,
// each of the keys and values of one row of the pack.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rrhf/model/pack.h"

namespace rrhf::model {

/// S sequences over T rows, with C copies. Query rows are the pack's, in their order.
struct AttentionSequences {
  std::vector<std::int32_t> query_begin;  ///< S + 1: sequence s asks with rows [query_begin[s], query_begin[s + 1])
  std::vector<std::int32_t> key_begin;    ///< S + 1: and looks at these copies; its last row sees them all
  std::vector<std::int32_t> key_rows;     ///< C: the row that a copy is of
  std::vector<std::int32_t>
      copies_begin;                  ///< T + 1: a row's copies are places[copies_begin[t]] to [copies_begin[t + 1]]
  std::vector<std::int32_t> places;  ///< C, ascending for each row
  std::int64_t longest_query = 0;
  std::int64_t longest_key = 0;
};

/// Of the queries of a pack, which hold all its rows in order.
AttentionSequences attention_sequences(std::span<const PackedQuery> queries);

}  // namespace rrhf::model
