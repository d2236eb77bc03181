// rrhf report RUN_DIR... [--out FILE]
#pragma once

namespace rrhf::cli {

/// Prints a table of the runs on stdout and writes the page with their curves to the file named by --out, and without
/// it to RUN_DIR/report.html for one run, nowhere for several. argv[0] is "report". Throws InputError for wrong
/// arguments, for folders that hold no run, and for a page that would stand over a file of a run.
void report_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
