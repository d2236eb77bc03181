// The rows of one or more files as token ids, one behind the other in one run of bytes: in memory, or in a file that is
// mapped, so that a set of any size takes little memory. What a row's texts were is needed by nothing after them.
//
// Bytes (little-endian, as every machine here is; nothing aligned, read by copying):
//     head     magic "rrhfTOK1", what the rows were made of (64 characters, "key"), u64 bytes of an id: 2 or 4
//     rows     usable:  k x u32 lengths, k x f64 rewards, ids of the prompt and of each response, group
//              skipped: i64 row, i64 line, u64 byte in its file, why
//     index    a row: u64 where it ends, u32 k (0: skipped), u32 prompt tokens, u32 packed tokens, u32 padded length
//     facts    JSON: RowFacts
//     tail     u64 rows, u64 bytes of facts, SHA-256 of everything before (64 characters)
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/sha256.h"
#include "rrhf/data/all_rows.h"
#include "rrhf/data/encode.h"
#include "rrhf/data/ranked_example.h"
#include "rrhf/data/token_format.h"

namespace rrhf::data {

/// Token ids of rows, read only. Const calls are safe from several threads.
class TokenRows {
 public:
  /// A file that TokenWriter wrote: it is read through once. Throws InputError, which begins with the path, when it is
  /// missing, cut short, damaged, no such file, or was made of anything else than `key`.
  static TokenRows open(const std::filesystem::path& path, std::string_view key);
  /// The same for bytes in memory.
  static TokenRows in_memory(std::string bytes);

  ~TokenRows();
  TokenRows(TokenRows&&) noexcept;
  TokenRows& operator=(TokenRows&&) noexcept;

  std::int64_t size() const noexcept;  ///< rows, skipped ones included
  bool skipped(std::int64_t row) const;

  /// Of a usable row; its `index` is the row. A mapped file's pages are given back to the system now and then.
  EncodedQuery query(std::int64_t row) const;
  QuerySize size_of(std::int64_t row) const;
  std::int64_t padded_length(std::int64_t row) const;
  std::string group(std::int64_t row) const;

  /// Of a skipped row: where it stood (`file` is empty) and why.
  RowLocation where(std::int64_t row) const;
  std::string why(std::int64_t row) const;

  const RowFacts& facts() const noexcept;

 private:
  struct State;
  explicit TokenRows(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Writes rows one after the other. Holds 24 bytes a row until finish().
class TokenWriter {
 public:
  /// Takes the next bytes; what it throws comes out of the calls below.
  using Sink = std::function<void(std::string_view)>;

  /// `key` says what the rows are made of, in 64 characters; "" for rows that are kept in memory. Ids are below
  /// `vocabulary`.
  TokenWriter(Sink sink, std::string_view key, std::int64_t vocabulary);

  /// Throws Error for an id beyond the vocabulary, a row of 2^32 tokens, and a query without responses.
  void add(const EncodedQuery& query);
  void add(const Skipped& skipped, const RowLocation& where);

  std::int64_t rows() const noexcept { return std::ssize(index_); }

  /// After the last row. Nothing may follow.
  void finish(const RowFacts& facts);

 private:
  void put(std::string_view bytes);
  void put_ids(std::span<const std::int32_t> ids);
  void flush();

  Sink sink_;
  std::size_t id_bytes_;
  std::int64_t vocabulary_;
  std::string pending_;
  std::uint64_t written_ = 0;  // pending bytes included
  std::vector<TokenEntry> index_;
  Sha256 hash_;
};

}  // namespace rrhf::data
