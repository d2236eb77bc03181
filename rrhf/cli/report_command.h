// rrhf report RUN_DIR... [--out FILE]
#pragma once

namespace rrhf::cli {

/// Prints a table of the runs on stdout and writes the page with their curves: RUN_DIR/report.html for one run, the
/// file named by --out for several. argv[0] is "report". Throws InputError for wrong arguments and folders that hold no
/// run.
void report_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
