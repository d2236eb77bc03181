// The files a config names, as token ids: read once as a stream, kept in a cache where that pays (data.cache).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/data/token_rows.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::train {

/// Rows of files in their order. Const calls are safe from several threads.
struct TokenizedFiles {
  data::TokenRows rows;
  std::vector<std::filesystem::path> files;

  /// Where a skipped row stood.
  data::RowLocation where(std::int64_t row) const;
};

/// Reads and tokenizes the files as the config says, or maps what an earlier run kept of the same. Warnings are logged
/// with a count. Throws InputError for every problem with the rows (all of them are looked at first), for files without
/// a pair where objective.rank_loss needs one, and when data.cache names a folder that can't be written into.
std::shared_ptr<const TokenizedFiles> tokenize_files(const std::vector<std::string>& files,
                                                     const std::filesystem::path& model_folder,
                                                     const text::Tokenizer& tokenizer, const config::RunConfig& config);

/// Rows that come from no file: `write` adds them and leaves finish() to this. Ids are below `vocabulary`.
std::shared_ptr<const TokenizedFiles> tokenized_in_memory(std::int64_t vocabulary,
                                                          const std::function<void(data::TokenWriter&)>& write);

/// With data.cache `auto`, files of fewer bytes in all are tokenized anew: that takes a few seconds.
inline constexpr std::int64_t least_cached_bytes = std::int64_t{16} << 20;

}  // namespace rrhf::train
