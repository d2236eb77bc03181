// `rrhf data validate | inspect | convert | stats`: look at ranked data before training on it.
#pragma once

namespace rrhf::cli {

/// Runs one subcommand; argv[0] is "data". Results go to stdout, progress to stderr.
/// Throws InputError for wrong arguments and for data that can't be trained on.
void data_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
