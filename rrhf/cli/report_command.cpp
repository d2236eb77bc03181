#include "rrhf/cli/report_command.h"

#include <cxxopts.hpp>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/unicode.h"
#include "rrhf/report/event_file.h"
#include "rrhf/report/report.h"

namespace rrhf::cli {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::vector<std::string> runs;
  std::string out;
  std::optional<std::string> tensorboard;
  std::string help;  // the text to print instead, when asked for
};

Arguments arguments_of(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf report", "Print a table of runs and write a page with their curves.");
  options.custom_help("RUN_DIR... [--out FILE] [--tensorboard DIR]");
  options.add_options()("out", "Page to write [RUN_DIR/report.html for a single run, none for several]",
                        cxxopts::value<std::string>(),
                        "FILE")("tensorboard", "Write event files for tensorboard --logdir DIR",
                                cxxopts::value<std::string>(), "DIR")("h,help", "Print this help");
  try {
    const auto given = options.parse(argc, argv);
    const auto flag = [&](const char* name) {
      return given.count(name) > 0 ? std::optional(given[name].as<std::string>()) : std::nullopt;
    };
    if (given.count("help") > 0) return {.help = options.help()};
    // What no flag takes is a folder. A declared list would be split at commas, which a folder's name may hold.
    if (given.unmatched().empty()) throw_input("usage", "report needs a run's folder; rrhf report --help says more");
    return {given.unmatched(), flag("out").value_or(""), flag("tensorboard"), ""};
  } catch (const cxxopts::exceptions::exception& failure) {
    throw_input("usage", "{} (rrhf report --help lists the flags)", failure.what());
  }
}

// All that the runs have written but pages.
std::vector<fs::path> files_of(const std::vector<fs::path>& folders) {
  std::vector<fs::path> files;
  for (const fs::path& folder : folders) {
    std::error_code failure;
    fs::recursive_directory_iterator at(folder, fs::directory_options::skip_permission_denied, failure);
    for (; !failure && at != fs::recursive_directory_iterator(); at.increment(failure)) {
      if (at->path().extension() != ".html") files.push_back(at->path());
    }
  }
  return files;
}

}  // namespace

void report_command(int argc, const char* const* argv) {
  const Arguments arguments = arguments_of(argc, argv);
  if (!arguments.help.empty()) {
    std::cout << arguments.help;
    return;
  }
  const std::vector<fs::path> folders(arguments.runs.begin(), arguments.runs.end());
  const std::vector<report::RunRecord> runs = report::load_runs(folders);
  if (arguments.tensorboard) make_writable_folder(*arguments.tensorboard);
  fs::path page = arguments.out;
  if (page.empty() && runs.size() == 1) page = folders[0] / "report.html";
  if (!page.empty()) {
    require_writable_file(page, files_of(folders));
    write_file_atomically(page, report::html_report(runs));
  }
  if (arguments.tensorboard) {
    report::write_event_files(runs, *arguments.tensorboard);
    log("event files: tensorboard --logdir {}", shell_word(*arguments.tensorboard));
  }
  std::cout << report::text_table(runs);
  log("{}", page.empty() ? "no page is written: --out FILE.html names one" : "report: " + page.string());
}

}  // namespace rrhf::cli
