#include "rrhf/data/token_rows.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <variant>

#include "rrhf/core/error.h"
#include "rrhf/core/json.h"
#include "rrhf/core/mapped_file.h"

namespace rrhf::data {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t hashed_at_once = std::size_t{4} << 20;
// How much of a mapped file may be in memory before its pages are given back. The system maps 64 KiB around a touched
// byte, so that a row counts as no less.
constexpr std::int64_t most_touched = std::int64_t{64} << 20;
constexpr std::int64_t least_touched = std::int64_t{64} << 10;

std::string text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

RowFacts::Notes notes_of(const Json& json) {
  return {.count = json.at("count").get<std::int64_t>(),
          .file = json.at("file").get<std::size_t>(),
          .where = {{},
                    json.at("row").get<std::int64_t>(),
                    json.at("line").get<std::int64_t>(),
                    json.at("byte").get<std::size_t>()},
          .message = json.at("message").get<std::string>()};
}

RowFacts facts_of(const std::string& text, const std::string& name) {
  try {
    const Json json = parse_json_row(text);
    RowFacts facts;
    for (const Json& file : json.at("files")) {
      facts.files.push_back({file.at("rows").get<std::int64_t>(), file.at("pairs").get<bool>()});
    }
    facts.notes = notes_of(json.at("notes"));
    facts.pair_notes = notes_of(json.at("pair_notes"));
    for (const RowFacts::Notes* notes : {&facts.notes, &facts.pair_notes}) {
      if (notes->count == 0 || notes->file < facts.files.size()) continue;
      throw_input("data", "{}: is damaged: a warning of no file", name);
    }
    return facts;
  } catch (const JsonSyntax& syntax) {
    throw_input("data", "{}: is damaged: {}", name, syntax.reason());
  } catch (const Json::exception& failure) {
    throw_input("data", "{}: is damaged: {}", name, failure.what());
  }
}

}  // namespace

struct TokenRows::State {
  explicit State(std::variant<std::string, MappedFile> from) : storage(std::move(from)) {}

  Bytes bytes() const {
    if (const auto* file = std::get_if<MappedFile>(&storage)) return file->bytes();
    return std::as_bytes(std::span(std::get<std::string>(storage)));
  }

  // Looks at everything once: what follows may then trust it.
  void check(const std::string& name, std::string_view key);
  void check_hash(const std::string& name) const;
  void check_row(std::int64_t row, const std::string& name) const;

  TokenEntry entry(std::int64_t row) const {
    return value_at<TokenEntry>(bytes().data() + index + static_cast<std::size_t>(row) * sizeof(TokenEntry));
  }
  std::size_t begin(std::int64_t row) const { return row == 0 ? token_head_size : entry(row - 1).end; }
  Bytes row_bytes(std::int64_t row) const {
    const std::size_t from = begin(row);
    return bytes().subspan(from, entry(row).end - from);
  }
  std::size_t group_begin(const TokenEntry& entry) const {
    return entry.responses * (sizeof(std::uint32_t) + sizeof(double)) + entry.packed * id_bytes;
  }
  // Appends `count` ids and steps over them.
  void read_ids(const std::byte*& from, std::size_t count, std::vector<std::int32_t>& ids) const;
  void touched(std::size_t count) const;

  std::variant<std::string, MappedFile> storage;
  std::int64_t rows = 0;
  std::size_t index = 0;  // where it begins
  std::size_t id_bytes = 0;
  RowFacts facts;
  mutable std::atomic<std::int64_t> touched_bytes = 0;
};

void TokenRows::State::touched(std::size_t count) const {
  const auto* file = std::get_if<MappedFile>(&storage);
  if (file == nullptr) return;
  const std::int64_t more = std::max(least_touched, static_cast<std::int64_t>(count));
  if (touched_bytes.fetch_add(more) + more < most_touched) return;
  touched_bytes = 0;
  file->release(file->bytes());
}

void TokenRows::State::check_hash(const std::string& name) const {
  constexpr std::size_t hash_size = 64;
  const Bytes all = bytes(), hashed = all.first(all.size() - hash_size);
  Sha256 hash;
  for (std::size_t at = 0; at < hashed.size(); at += hashed_at_once) {
    const Bytes piece = hashed.subspan(at, std::min(hashed_at_once, hashed.size() - at));
    hash.update(piece);
    touched(piece.size());
  }
  if (hash.hex() != text_of(all.last(hash_size))) {
    throw_input("data", "{}: is cut short or damaged: it does not end with the hash of what stands before", name);
  }
}

void TokenRows::State::check_row(std::int64_t row, const std::string& name) const {
  const TokenEntry own = entry(row);
  const auto broken = [&] { throw_input("data", "{}: is damaged: row {} does not fit its place", name, row); };
  const std::size_t from = begin(row);
  if (own.end < from || own.end > index) broken();
  const std::size_t size = own.end - from;
  if (own.responses == 0) {
    if (size < skipped_head_size) broken();
    return;
  }
  if (own.prompt == 0 || group_begin(own) > size) broken();
  std::uint64_t packed = own.prompt;
  const std::byte* lengths = bytes().data() + from;
  for (std::size_t i = 0; i < own.responses; ++i) {
    const auto length = value_at<std::uint32_t>(lengths + i * sizeof(std::uint32_t));
    if (length == 0) broken();
    packed += length;
  }
  if (packed != own.packed) broken();
  touched(size);
}

void TokenRows::State::check(const std::string& name, std::string_view key) {
  const Bytes all = bytes();
  if (all.size() < token_head_size + token_tail_size || text_of(all.first(token_magic.size())) != token_magic) {
    throw_input("data", "{}: is no file of tokens that rrhf wrote", name);
  }
  std::string own_key = text_of(all.subspan(token_magic.size(), token_key_size));
  own_key.erase(own_key.find_last_not_of(' ') + 1);
  if (own_key != key) throw_input("data", "{}: was made of other data, settings or a tokenizer", name);
  check_hash(name);
  id_bytes = value_at<std::uint64_t>(all.data() + token_magic.size() + token_key_size);
  const std::byte* tail = all.data() + all.size() - token_tail_size;
  const auto count = value_at<std::uint64_t>(tail), facts_size = value_at<std::uint64_t>(tail + 8);
  const std::size_t room = all.size() - token_head_size - token_tail_size;
  if ((id_bytes != 2 && id_bytes != 4) || facts_size > room || count > (room - facts_size) / sizeof(TokenEntry)) {
    throw_input("data", "{}: is damaged: its numbers do not fit its size", name);
  }
  rows = static_cast<std::int64_t>(count);
  const std::size_t facts_at = all.size() - token_tail_size - facts_size;
  index = facts_at - count * sizeof(TokenEntry);
  for (std::int64_t row = 0; row < rows; ++row) check_row(row, name);
  if (begin(rows) != index) throw_input("data", "{}: is damaged: its rows do not fill it", name);
  facts = facts_of(text_of(all.subspan(facts_at, facts_size)), name);
  if (facts.rows() != rows)
    throw_input("data", "{}: is damaged: {} rows in files, {} in all", name, facts.rows(), rows);
}

void TokenRows::State::read_ids(const std::byte*& from, std::size_t count, std::vector<std::int32_t>& ids) const {
  ids.resize(count);
  if (id_bytes == 4) {
    std::memcpy(ids.data(), from, count * sizeof(std::int32_t));
  } else {
    for (std::size_t i = 0; i < count; ++i) ids[i] = value_at<std::uint16_t>(from + 2 * i);
  }
  from += count * id_bytes;
}

TokenRows::TokenRows(std::unique_ptr<State> state) : state_(std::move(state)) {}
TokenRows::~TokenRows() = default;
TokenRows::TokenRows(TokenRows&&) noexcept = default;
TokenRows& TokenRows::operator=(TokenRows&&) noexcept = default;

TokenRows TokenRows::open(const std::filesystem::path& path, std::string_view key) {
  auto state = std::make_unique<State>(MappedFile(path));
  state->check(path.string(), key);
  return TokenRows(std::move(state));
}

TokenRows TokenRows::in_memory(std::string bytes) {
  auto state = std::make_unique<State>(std::move(bytes));
  state->check("tokens in memory", "");
  return TokenRows(std::move(state));
}

std::int64_t TokenRows::size() const noexcept { return state_->rows; }
bool TokenRows::skipped(std::int64_t row) const { return state_->entry(row).responses == 0; }
const RowFacts& TokenRows::facts() const noexcept { return state_->facts; }

EncodedQuery TokenRows::query(std::int64_t row) const {
  const TokenEntry entry = state_->entry(row);
  const Bytes bytes = state_->row_bytes(row);
  const std::byte* lengths = bytes.data();
  const std::byte* rewards = lengths + entry.responses * sizeof(std::uint32_t);
  const std::byte* ids = rewards + entry.responses * sizeof(double);
  EncodedQuery query;
  query.index = row;
  query.padded_length = entry.padded;
  state_->read_ids(ids, entry.prompt, query.prompt);
  query.responses.resize(entry.responses);
  for (std::size_t i = 0; i < entry.responses; ++i) {
    state_->read_ids(ids, value_at<std::uint32_t>(lengths + i * sizeof(std::uint32_t)), query.responses[i]);
    query.rewards.push_back(value_at<double>(rewards + i * sizeof(double)));
  }
  query.group = text_of(bytes.subspan(state_->group_begin(entry)));
  state_->touched(bytes.size());
  return query;
}

QuerySize TokenRows::size_of(std::int64_t row) const {
  const TokenEntry entry = state_->entry(row);
  return {.prompt = entry.prompt, .labels = std::int64_t{entry.packed} - entry.prompt, .responses = entry.responses};
}

std::int64_t TokenRows::padded_length(std::int64_t row) const { return state_->entry(row).padded; }

std::string TokenRows::group(std::int64_t row) const {
  const Bytes bytes = state_->row_bytes(row);
  std::string group = text_of(bytes.subspan(state_->group_begin(state_->entry(row))));
  state_->touched(bytes.size());
  return group;
}

RowLocation TokenRows::where(std::int64_t row) const {
  const std::byte* bytes = state_->row_bytes(row).data();
  return {{}, value_at<std::int64_t>(bytes), value_at<std::int64_t>(bytes + 8), value_at<std::uint64_t>(bytes + 16)};
}

std::string TokenRows::why(std::int64_t row) const {
  return text_of(state_->row_bytes(row).subspan(skipped_head_size));
}

}  // namespace rrhf::data
