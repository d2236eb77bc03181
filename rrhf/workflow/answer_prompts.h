// `rrhf generate --prompts`: queries in, a line of answer each out.
#pragma once

#include <filesystem>

#include "rrhf/workflow/answer_rows.h"

namespace rrhf::workflow {

struct AnswerTask {
  AnswerSettings answers;
  std::filesystem::path prompts;  ///< as data::read_queries() reads it
  std::filesystem::path out;
  Existing existing = Existing::keep;
};

/// Writes {"query", "response", "tokens"} lines in file order, tokens being the new ids without the EOS; whole or not
/// at all, and restartable, as sample() does. Throws as sample() does.
AnswerCounts answer_prompts(const AnswerTask& task);

}  // namespace rrhf::workflow
