#include "rrhf/cli/report_command.h"

#include <cxxopts.hpp>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/report/report.h"

namespace rrhf::cli {
namespace {

struct Arguments {
  std::vector<std::string> runs;
  std::string out;
  std::string help;  // the text to print instead, when asked for
};

Arguments arguments_of(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf report", "Print a table of runs and write a page with their curves.");
  options.custom_help("RUN_DIR... [--out FILE]");
  options.add_options()("out", "Page to write [RUN_DIR/report.html for a single run]", cxxopts::value<std::string>(),
                        "FILE")("h,help", "Print this help");
  try {
    const auto given = options.parse(argc, argv);
    if (given.count("help") > 0) return {{}, "", options.help()};
    // What no flag takes is a folder. A declared list would be split at commas, which a folder's name may hold.
    if (given.unmatched().empty()) throw_input("usage", "report needs a run's folder; rrhf report --help says more");
    return {given.unmatched(), given.count("out") > 0 ? given["out"].as<std::string>() : "", ""};
  } catch (const cxxopts::exceptions::exception& failure) {
    throw_input("usage", "{} (rrhf report --help lists the flags)", failure.what());
  }
}

}  // namespace

void report_command(int argc, const char* const* argv) {
  const Arguments arguments = arguments_of(argc, argv);
  if (!arguments.help.empty()) {
    std::cout << arguments.help;
    return;
  }
  if (arguments.runs.size() > 1 && arguments.out.empty()) {
    throw_input("usage", "the page of {} runs needs a name: add --out FILE.html", arguments.runs.size());
  }
  std::vector<report::RunRecord> runs;
  for (const std::string& folder : arguments.runs) runs.push_back(report::load_run(folder));

  const std::filesystem::path first = arguments.runs[0];
  const std::filesystem::path page =
      arguments.out.empty() ? first / "report.html" : std::filesystem::path(arguments.out);
  require_writable_file(page);
  write_file_atomically(page, report::html_report(runs));
  std::cout << report::text_table(runs);
  log("report: {}", page.string());
}

}  // namespace rrhf::cli
