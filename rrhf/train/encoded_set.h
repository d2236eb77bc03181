// Queries to train on or to evaluate, as token ids that lie elsewhere.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rrhf/data/encode.h"
#include "rrhf/data/ranked_example.h"
#include "rrhf/train/tokenized.h"

namespace rrhf::train {

/// A row that no token of some response is left of.
struct SkippedRow {
  std::int64_t index = 0;  ///< counted over all rows of the files
  data::RowLocation where;
  std::string why;
};

/// Some rows of tokenized files, in order: those that can be used are its queries. Holds 8 bytes a row beside what it
/// shares with other sets of the same files. Const calls are safe from several threads.
class EncodedSet {
 public:
  /// Adds the rows for which `chosen` is `which`, in order; all rows.
  void add(const std::shared_ptr<const TokenizedFiles>& files, const std::vector<bool>& chosen, bool which);
  void add(const std::shared_ptr<const TokenizedFiles>& files);

  std::int64_t size() const noexcept { return std::ssize(queries_); }      ///< queries
  std::int64_t rows() const noexcept { return size() + skipped_count(); }  ///< and those skipped
  std::int64_t skipped_count() const noexcept { return std::ssize(skipped_); }
  std::int64_t packed_tokens() const noexcept { return packed_tokens_; }
  std::int64_t padded_tokens() const noexcept { return padded_tokens_; }  ///< k times the longest prompt + response
  double mean_responses() const;

  /// Query i, 0 <= i < size(); its `index` counts all rows of the files, chosen or not.
  data::EncodedQuery query(std::int64_t i) const;
  data::QuerySize size_of(std::int64_t i) const;
  std::string group(std::int64_t i) const;

  std::vector<SkippedRow> skipped() const;

 private:
  struct Part {
    std::shared_ptr<const TokenizedFiles> files;
    std::int64_t first = 0;  // the number of its first row
  };
  struct Place {
    const TokenizedFiles* files = nullptr;
    std::int64_t row = 0;  // in them
  };
  Place place(std::int64_t row) const;
  void add_row(const Part& part, std::int64_t row);

  std::vector<Part> parts_;
  std::vector<std::int64_t> queries_;  // rows, counted over all files added
  std::vector<std::int64_t> skipped_;
  std::int64_t packed_tokens_ = 0, padded_tokens_ = 0, responses_ = 0;
};

/// How many of the skipped rows are named: some where no list of them is written elsewhere.
enum class SkippedShown { first, some };

/// Logs how many rows are skipped; `what` names the set there. Throws InputError when no query is left.
void require_queries(const EncodedSet& set, const config::RunConfig& config, std::string_view what,
                     SkippedShown shown = SkippedShown::first);

/// A hash over token ids, rewards and padded lengths in order: tells whether a resumed run sees the data it began with.
std::string fingerprint(const EncodedSet& set);

}  // namespace rrhf::train
