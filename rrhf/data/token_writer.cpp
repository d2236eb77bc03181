#include <fmt/format.h>

#include <limits>
#include <span>

#include "rrhf/core/error.h"
#include "rrhf/core/json.h"
#include "rrhf/data/token_rows.h"

namespace rrhf::data {
namespace {

constexpr std::size_t piece_size = std::size_t{1} << 20;
constexpr std::int64_t ids_in_two_bytes = 1 << 16;

std::uint32_t narrow(std::int64_t count) {
  if (count > std::numeric_limits<std::uint32_t>::max()) throw_error("data", "a row has {} tokens", count);
  return static_cast<std::uint32_t>(count);
}

Json to_json(const RowFacts& facts) {
  Json files = Json::array();
  for (const RowFacts::File& file : facts.files) files.push_back({{"rows", file.rows}, {"pairs", file.pairs}});
  const auto json_of = [](const RowFacts::Notes& notes) {
    return Json{{"count", notes.count},     {"file", notes.file},       {"row", notes.where.row},
                {"line", notes.where.line}, {"byte", notes.where.byte}, {"message", notes.message}};
  };
  return {{"files", files}, {"notes", json_of(facts.notes)}, {"pair_notes", json_of(facts.pair_notes)}};
}

}  // namespace

TokenWriter::TokenWriter(Sink sink, std::string_view key, std::int64_t vocabulary)
    : sink_(std::move(sink)), id_bytes_(vocabulary <= ids_in_two_bytes ? 2 : 4), vocabulary_(vocabulary) {
  std::string head(token_magic);
  head += key;
  head.resize(token_magic.size() + token_key_size, ' ');
  append_value(head, static_cast<std::uint64_t>(id_bytes_));
  put(head);
}

void TokenWriter::put(std::string_view bytes) {
  pending_ += bytes;
  written_ += bytes.size();
  if (pending_.size() >= piece_size) flush();
}

void TokenWriter::flush() {
  hash_.update(std::as_bytes(std::span(pending_)));
  sink_(pending_);
  pending_.clear();
}

void TokenWriter::put_ids(std::span<const std::int32_t> ids) {
  std::string bytes;
  bytes.reserve(ids.size() * id_bytes_);
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocabulary_) throw_error("data", "token id {} is beyond the vocabulary of {}", id, vocabulary_);
    if (id_bytes_ == 2) {
      append_value(bytes, static_cast<std::uint16_t>(id));
    } else {
      append_value(bytes, id);
    }
  }
  put(bytes);
}

void TokenWriter::add(const EncodedQuery& query) {
  if (query.responses.empty()) throw_error("data", "a query without responses can't be kept");
  const QuerySize size = query.size();
  std::string head;
  for (const auto& response : query.responses) append_value(head, narrow(std::ssize(response)));
  for (const double reward : query.rewards) append_value(head, reward);
  put(head);
  put_ids(query.prompt);
  for (const auto& response : query.responses) put_ids(response);
  put(query.group);
  index_.push_back({.end = written_,
                    .responses = narrow(size.responses),
                    .prompt = narrow(size.prompt),
                    .packed = narrow(size.packed()),
                    .padded = narrow(query.padded_length)});
}

void TokenWriter::add(const Skipped& skipped, const RowLocation& where) {
  std::string row;
  append_value(row, where.row);
  append_value(row, where.line);
  append_value(row, static_cast<std::uint64_t>(where.byte));
  put(row);
  put(skipped.why);
  index_.push_back({.end = written_});
}

void TokenWriter::finish(const RowFacts& facts) {
  for (const TokenEntry& entry : index_) {
    put({reinterpret_cast<const char*>(&entry), sizeof entry});
  }
  const std::string text = dump_json(to_json(facts));
  put(text);
  flush();
  std::string tail;
  append_value(tail, static_cast<std::uint64_t>(index_.size()));
  append_value(tail, static_cast<std::uint64_t>(text.size()));
  hash_.update(std::as_bytes(std::span(tail)));
  sink_(tail + hash_.hex());
}

}  // namespace rrhf::data
