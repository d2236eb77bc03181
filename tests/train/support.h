// What the tests of rrhf/train share: sets of queries as token ids.
#pragma once

#include <algorithm>
#include <vector>

#include "rrhf/train/encoded_set.h"

namespace rrhf::train::testing {

/// A query of so many prompt tokens, with responses of so many labels each; tokens are 1, 2, ... through the query.
inline data::EncodedQuery query_of(std::int32_t prompt, const std::vector<std::int32_t>& labels) {
  data::EncodedQuery query;
  std::int32_t token = 0;
  for (std::int32_t i = 0; i < prompt; ++i) query.prompt.push_back(++token);
  for (const std::int32_t count : labels) {
    auto& response = query.responses.emplace_back();
    for (std::int32_t i = 0; i < count; ++i) response.push_back(++token);
    query.rewards.push_back(static_cast<double>(query.responses.size()));
    query.padded_length = std::max<std::int64_t>(query.padded_length, prompt + count);
  }
  return query;
}

/// The queries as a set, with ids below 1000.
inline EncodedSet set_of(const std::vector<data::EncodedQuery>& queries) {
  EncodedSet set;
  set.add(tokenized_in_memory(1000, [&](data::TokenWriter& writer) {
    for (const data::EncodedQuery& query : queries) writer.add(query);
  }));
  return set;
}

}  // namespace rrhf::train::testing
