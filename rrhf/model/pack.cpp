#include "rrhf/model/pack.h"

#include <algorithm>

#include "rrhf/core/error.h"
#include "rrhf/model/attention_sequences.h"
#include "rrhf/model/upload.h"

namespace rrhf::model {
namespace {

using Indices = std::vector<std::int64_t>;

void require_parts(const PackInput& input) {
  if (input.prompt.empty() || input.responses.empty()) throw_error("pack", "a query needs a prompt and a response");
}

// The index vectors of a pack under construction.
struct Builder {
  Pack pack;
  Indices tokens, positions, rows, labels, label_row;

  void place(std::span<const std::int32_t> ids, std::int64_t first_position) {
    for (const std::int32_t id : ids) {
      tokens.push_back(id);
      positions.push_back(first_position++);
    }
  }

  // A row that predicts labels; the labels follow with add_label().
  void open_row(std::int64_t row) {
    rows.push_back(row);
    pack.label_begin_R.push_back(static_cast<std::int64_t>(labels.size()));
  }

  void add_label(std::int32_t id, std::int64_t response_index) {
    labels.push_back(id);
    label_row.push_back(static_cast<std::int64_t>(rows.size()) - 1);
    pack.response_N.push_back(response_index);
  }

  void add(const PackInput& input);
  void add_to_read(const PackInput& input);
  Pack finish(at::Device device) &&;
};

void Builder::add(const PackInput& input) {
  require_parts(input);
  const auto prompt_size = std::ssize(input.prompt);
  PackedQuery query{.prompt = {std::ssize(tokens), prompt_size}, .responses = {}, .longest = 0};
  place(input.prompt, 0);

  const std::int64_t first_response = pack.responses;
  open_row(query.prompt.end() - 1);
  for (std::size_t i = 0; i < input.responses.size(); ++i) {
    if (input.responses[i].empty()) throw_error("pack", "response {} has no token", i);
    add_label(input.responses[i].front(), first_response + static_cast<std::int64_t>(i));
  }
  for (std::size_t i = 0; i < input.responses.size(); ++i) {
    const auto ids = input.responses[i];
    query.responses.push_back({std::ssize(tokens), std::ssize(ids) - 1});
    query.longest = std::max(query.longest, prompt_size + std::ssize(ids));
    for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
      open_row(std::ssize(tokens) + static_cast<std::int64_t>(t));
      add_label(ids[t + 1], first_response + static_cast<std::int64_t>(i));
    }
    place(ids.first(ids.size() - 1), prompt_size);
  }
  pack.responses += std::ssize(input.responses);
  pack.queries.push_back(std::move(query));
}

void Builder::add_to_read(const PackInput& input) {
  require_parts(input);
  const auto prompt_size = std::ssize(input.prompt);
  PackedQuery query{.prompt = {std::ssize(tokens), prompt_size}, .responses = {}, .longest = prompt_size};
  place(input.prompt, 0);
  for (const auto ids : input.responses) {
    const Segment segment{std::ssize(tokens), std::ssize(ids)};
    place(ids, prompt_size);
    rows.push_back(ids.empty() ? query.prompt.end() - 1 : segment.end() - 1);
    query.responses.push_back(segment);
    query.longest = std::max(query.longest, prompt_size + segment.size);
  }
  pack.responses += std::ssize(input.responses);
  pack.queries.push_back(std::move(query));
}

Pack Builder::finish(at::Device device) && {
  Upload upload;
  upload.add(tokens, pack.tokens_T);
  upload.add(positions, pack.positions_T);
  upload.add(rows, pack.rows_R);
  upload.add(labels, pack.labels_N);
  upload.add(label_row, pack.label_row_N);
  AttentionSequences sequences;
  if (device.is_cuda()) {
    upload.add(pack.label_begin_R, pack.label_begin_P);
    sequences = attention_sequences(pack.queries);
    AttentionIndex& index = pack.attention;
    upload.add(sequences.query_begin, index.query_begin);
    upload.add(sequences.key_begin, index.key_begin);
    upload.add(sequences.key_rows, index.key_rows);
    upload.add(sequences.copies_begin, index.copies_begin);
    upload.add(sequences.places, index.places);
    index.longest_query = sequences.longest_query;
    index.longest_key = sequences.longest_key;
  }
  upload.send(device);
  return std::move(pack);
}

}  // namespace

Pack make_pack(std::span<const PackInput> queries, at::Device device) {
  Builder builder;
  for (const PackInput& query : queries) builder.add(query);
  builder.pack.label_begin_R.push_back(std::ssize(builder.labels));
  return std::move(builder).finish(device);
}

Pack make_reading_pack(std::span<const PackInput> queries, at::Device device) {
  Builder builder;
  for (const PackInput& query : queries) builder.add_to_read(query);
  return std::move(builder).finish(device);
}

}  // namespace rrhf::model
