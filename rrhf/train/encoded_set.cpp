#include "rrhf/train/encoded_set.h"

#include <algorithm>
#include <bit>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"

namespace rrhf::train {
namespace {

// FNV-1a, 64 bits, over the eight bytes of each value.
class Hash {
 public:
  void add(std::uint64_t value) {
    int left = 8;
    for (; value != 0; value >>= 8, --left) state_ = (state_ ^ (value & 0xff)) * prime;
    for (; left > 0; --left) state_ *= prime;  // a byte of zeros
  }
  std::string text() const { return fmt::format("{:016x}", state_); }

 private:
  static constexpr std::uint64_t prime = 0x100000001b3;
  std::uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace

void EncodedSet::add(const std::shared_ptr<const TokenizedFiles>& files, const std::vector<bool>& chosen, bool which) {
  const std::int64_t first = parts_.empty() ? 0 : parts_.back().first + parts_.back().files->rows.size();
  parts_.push_back({files, first});
  for (std::int64_t row = 0; row < files->rows.size(); ++row) {
    if (chosen[static_cast<std::size_t>(row)] == which) add_row(parts_.back(), row);
  }
}

void EncodedSet::add(const std::shared_ptr<const TokenizedFiles>& files) {
  add(files, std::vector<bool>(static_cast<std::size_t>(files->rows.size())), false);
}

void EncodedSet::add_row(const Part& part, std::int64_t row) {
  const data::TokenRows& rows = part.files->rows;
  if (rows.skipped(row)) {
    skipped_.push_back(part.first + row);
    return;
  }
  queries_.push_back(part.first + row);
  const data::QuerySize size = rows.size_of(row);
  packed_tokens_ += size.packed();
  padded_tokens_ += rows.padded_length(row) * size.responses;
  responses_ += size.responses;
}

EncodedSet::Place EncodedSet::place(std::int64_t row) const {
  std::size_t part = parts_.size() - 1;
  while (parts_[part].first > row) --part;
  return {parts_[part].files.get(), row - parts_[part].first};
}

double EncodedSet::mean_responses() const {
  return size() == 0 ? 0 : static_cast<double>(responses_) / static_cast<double>(size());
}

data::EncodedQuery EncodedSet::query(std::int64_t i) const {
  const std::int64_t row = queries_[static_cast<std::size_t>(i)];
  const Place at = place(row);
  data::EncodedQuery query = at.files->rows.query(at.row);
  query.index = row;
  return query;
}

data::QuerySize EncodedSet::size_of(std::int64_t i) const {
  const Place at = place(queries_[static_cast<std::size_t>(i)]);
  return at.files->rows.size_of(at.row);
}

std::string EncodedSet::group(std::int64_t i) const {
  const Place at = place(queries_[static_cast<std::size_t>(i)]);
  return at.files->rows.group(at.row);
}

std::vector<SkippedRow> EncodedSet::skipped() const {
  std::vector<SkippedRow> result;
  for (const std::int64_t row : skipped_) {
    const Place at = place(row);
    result.push_back({row, at.files->where(at.row), at.files->rows.why(at.row)});
  }
  return result;
}

void require_queries(const EncodedSet& set, const config::RunConfig& config, std::string_view what,
                     SkippedShown shown) {
  if (const std::vector<SkippedRow> skipped = set.skipped(); !skipped.empty()) {
    constexpr std::size_t most = 20;
    const auto line = [](const SkippedRow& row) { return fmt::format("{}: {}", row.where.text(), row.why); };
    std::string rows = shown == SkippedShown::first ? ", the first: " + line(skipped[0]) : ":";
    if (shown == SkippedShown::some) {
      for (std::size_t i = 0; i < std::min(most, skipped.size()); ++i) rows += "\n  " + line(skipped[i]);
      if (skipped.size() > most) rows += fmt::format("\n  and {} more", skipped.size() - most);
    }
    warn("{} of {} skipped{}", counted(std::ssize(skipped), "row", "rows"), what, rows);
  }
  if (set.size() == 0) {
    throw_input("data", "all {} rows are skipped: no token of a response fits data.max_length {}", set.rows(),
                config.data.max_length);
  }
}

std::string fingerprint(const EncodedSet& set) {
  Hash hash;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const data::EncodedQuery query = set.query(i);
    hash.add(query.prompt.size());
    for (const std::int32_t id : query.prompt) hash.add(static_cast<std::uint64_t>(id));
    for (const auto& response : query.responses) {
      hash.add(response.size());
      for (const std::int32_t id : response) hash.add(static_cast<std::uint64_t>(id));
    }
    for (const double reward : query.rewards) hash.add(std::bit_cast<std::uint64_t>(reward));
    hash.add(static_cast<std::uint64_t>(query.padded_length));
  }
  return hash.text();
}

}  // namespace rrhf::train
