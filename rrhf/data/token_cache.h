// Rows as token ids kept between runs: a folder with a file for each set of data, settings and tokenizer.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "rrhf/data/token_rows.h"

namespace rrhf::data {

/// The rows that `key` (64 hexadecimal characters: a hash over all they depend on) stands for: those in `folder`, or
/// else made by `write`, which gets a sink for a TokenWriter, and kept there. A file in their place that is damaged or
/// was made of something else is named in a warning and made again.
///
/// Several processes may ask at once: one makes the rows, the others wait. (On a file system without locks each makes
/// them; a file comes into its place whole, so that this is slow, never wrong.)
/// Throws InputError when nothing can be written into the folder, Error when the disk is full, and what `write` throws:
/// nothing is left behind then.
TokenRows cached_rows(const std::filesystem::path& folder, const std::string& key,
                      const std::function<void(const TokenWriter::Sink&)>& write);

}  // namespace rrhf::data
