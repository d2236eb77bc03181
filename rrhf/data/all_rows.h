// All rows of the files that train and eval are given, one after the other, in bounded memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/data/reader.h"
#include "rrhf/text/prompt_template.h"

namespace rrhf::data {

/// What is left to say of files once their rows are gone. A file goes by its place among those that were read.
struct RowFacts {
  struct File {
    std::int64_t rows = 0;
    bool pairs = false;  ///< some row has two chosen responses with unequal scores

    bool operator==(const File&) const = default;
  };
  /// Warnings of a kind: how many, and the first.
  struct Notes {
    std::int64_t count = 0;
    std::size_t file = 0;  ///< of the first: its place in `files`
    RowLocation where;     ///< of the first; its own `file` is left empty
    std::string message;
  };

  std::vector<File> files;
  Notes notes;
  Notes pair_notes;  ///< that pairs are missing: apart, since a run without a ranking loss takes none

  std::int64_t rows() const;
};

/// How rows are read and which of their responses count.
struct RowChecks {
  DataFormat format = DataFormat::automatic;
  ResponseChoice responses = ResponseChoice::all;
  const text::PromptTemplate* prompt_template = nullptr;  ///< null: settings_mistake() is not asked
  bool stop_responses = false;                            ///< data.stop_response
};

/// Shows `visit` each row with the place of its file, until one is found that is wrong; then only looks for others.
/// `on_progress` gets the share read of all files. Throws InputError naming all files that are not there, before it
/// reads any; naming up to 20 errors and their count, and each file that can't be read on, when there are any; and when
/// there is no row.
RowFacts visit_rows(const std::vector<std::filesystem::path>& files, const RowChecks& checks,
                    const std::function<void(const RankedExample&)>& visit,
                    const std::function<void(double)>& on_progress = {});

/// Throws InputError naming each file in which no row has a pair to rank.
void require_pairs(const RowFacts& facts, const std::vector<std::filesystem::path>& files, ResponseChoice responses);

/// "no pair in the whole file: ...", as train and `rrhf data validate` say it.
std::string no_pair_message(ResponseChoice responses);

}  // namespace rrhf::data
