// Many queries answered into a file of lines: with progress, and in a way that can be interrupted and gone on with.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "rrhf/workflow/answerer.h"
#include "rrhf/workflow/part_lines.h"

namespace rrhf::workflow {

/// What a run answered; what an earlier run had finished is not in it.
struct AnswerCounts {
  std::int64_t rows = 0;
  std::int64_t answers = 0;
  std::int64_t tokens = 0;        ///< new ones, abandoned hypotheses included
  std::int64_t empty = 0;         ///< without text, whatever ended them
  std::int64_t empty_by_eos = 0;  ///< the model said EOS first
  std::int64_t at_limit = 0;      ///< ended by max_new_tokens or the model's positions
  double seconds = 0;
};

/// The line of a row, from its answers.
using LineOf = std::function<Json(std::size_t row, const std::vector<generate::Answer>& answers)>;

/// Says how many prompts Answerer::prompts() cut, where it cut any.
void log_cut(const Answerer& answerer, const Prompts& prompts);

/// Answers the rows that `lines` lacks (requests[r] is row r), loading the weights if there are any, then completes
/// the file and logs what there was. `operation` is "generate" or "sample", `rows_are` "prompts" or "rows".
/// Throws Interrupted when a stop signal comes (StopSignals); what is finished then, and after any other error, is
/// kept.
AnswerCounts answer_rows(Answerer& answerer, const Prompts& prompts, PartLines& lines, const LineOf& line_of,
                         std::string_view operation);

}  // namespace rrhf::workflow
