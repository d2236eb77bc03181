// The flags of the commands that let a model answer: which model, which template, how it is decoded.
#pragma once

#include <cxxopts.hpp>
#include <string>

#include "rrhf/workflow/answerer.h"

namespace rrhf::cli {

/// Declares them, each with the default that it has in `defaults`.
void add_answer_flags(cxxopts::Options& options, const workflow::AnswerSettings& defaults);

/// The settings that the flags say; `defaults` where there is none. Without --stop the template's own stop strings
/// hold, if it has any. Warns of decoding flags that the method takes no notice of. Throws InputError naming the flag
/// for a value that is none of its kind, and without --model.
workflow::AnswerSettings read_answer_flags(const cxxopts::ParseResult& arguments,
                                           const workflow::AnswerSettings& defaults, std::string_view command);

}  // namespace rrhf::cli
