// `rrhf sample`: rows in, the same rows with further responses of a model out, not scored yet.
#pragma once

#include <filesystem>
#include <string>

#include "rrhf/data/open_rows.h"
#include "rrhf/workflow/answer_rows.h"

namespace rrhf::workflow {

struct SampleTask {
  AnswerSettings answers;  ///< decoding.answers responses a query
  std::filesystem::path data;
  DataFormat format = DataFormat::automatic;
  std::filesystem::path out;
  std::string writer;  ///< "": default_writer()
  data::Place place = data::Place::last;
  bool unique = false;  ///< leave out a response that the row has already
  Existing existing = Existing::keep;
};

struct SampleCounts {
  AnswerCounts answers;
  std::int64_t dropped = 0;  ///< by `unique`, in this run
};

/// "alpaca-7b diverse-beam": the model's folder (with the run's, where it is RUN/model) and the method.
std::string default_writer(const AnswerSettings& settings);

/// Samples responses to every row of `task.data` and writes RRHF lines in file order to `task.out`, whole or not at all
/// (data/open_rows.h says what a line holds). What is finished is kept in `OUT.part` until then, and a second call goes
/// on after it. A row's responses depend on the model, the decoding and the row's number alone.
/// Throws InputError for anything wrong with data, model folder, settings or output, before weights are read where that
/// can be; Interrupted when a stop signal comes.
SampleCounts sample(const SampleTask& task);

}  // namespace rrhf::workflow
