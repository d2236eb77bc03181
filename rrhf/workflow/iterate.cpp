#include "rrhf/workflow/iterate.h"

#include <cmath>
#include <filesystem>
#include <numeric>
#include <optional>
#include <ostream>
#include <span>
#include <string_view>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/report/format.h"
#include "rrhf/train/run_folder.h"
#include "rrhf/workflow/iterate_inputs.h"
#include "rrhf/workflow/round.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

// A number somewhere in a line of figures; "-" where there is none.
std::string figure(const Json& line, const char* part, const char* name, int decimals, double factor = 1) {
  const auto found = line.find(part);
  if (found == line.end() || !found->contains(name) || !found->at(name).is_number()) return "-";
  return fmt::format("{:.{}f}", factor * found->at(name).get<double>(), decimals);
}

report::TableLine table_line(const Json& line) {
  const std::int64_t round = line.at("round").get<std::int64_t>();
  const std::string accuracy = figure(line, "eval", "rank_accuracy", 1, 100);
  return {round == 0 ? "start" : fmt::format("{}", round),
          figure(line, "samples", "mean", 4),
          figure(line, "samples", "best", 4),
          figure(line, "trained_on", "best", 4),
          figure(line, "held_out", "greedy", 4),
          figure(line, "held_out", "sampled", 4),
          figure(line, "held_out", "best", 4),
          accuracy == "-" ? accuracy : accuracy + " %",
          figure(line, "eval", "perplexity", 3)};
}

// A heading over neighbouring columns.
std::string over_columns(std::string_view heading, std::span<const std::size_t> widths) {
  const std::size_t between = 2 * (widths.size() - 1);
  return fmt::format("  {:-^{}}", heading, std::reduce(widths.begin(), widths.end(), between));
}

std::string table_of(const std::vector<Json>& rounds) {
  std::vector<report::TableLine> lines;
  for (const Json& line : rounds) lines.push_back(table_line(line));
  lines = report::under_headings({"round", "samples", "best of", "best of\nall", "greedy", "samples", "best of",
                                  "ranking\naccuracy", "perplexity\n(best)"},
                                 std::move(lines));
  const std::vector<std::size_t> widths = report::column_widths(lines);
  const std::span<const std::size_t> all(widths);
  return std::string(widths[0], ' ') + over_columns(" trained on, reward of ", all.subspan(1, 3)) +
         over_columns(" held-out, reward of ", all.subspan(4, 3)) + over_columns(" data.eval ", all.subspan(7, 2)) +
         "\n" + report::in_columns(lines, 1);
}

// Makes the folder, or goes on with the run in it.
FolderLock open_output(const config::RunConfig& config) {
  const fs::path output = config.output;
  make_writable_folder(output);
  FolderLock lock(output);
  remove_abandoned(output);
  write_file_atomically(output / "config.json", dump_json(config::to_json(config), 2) + "\n");
  return lock;
}

}  // namespace

std::string iterate(const config::RunConfig& config, bool resume) {
  // The same refusals as of a training run: a folder in use, other settings.
  const train::RunFolder folder(config, resume, true, train::RunFolder::Kind::iterated);
  if (const Round later(config, config.iterate.rounds + 1); path_exists(later.folder())) {
    throw_input("iterate", "{}: more than iterate.rounds {} have been begun there", folder.path().string(),
                config.iterate.rounds);
  }
  const IterateRows rows = read_iterate_rows(config);
  const FolderLock lock = open_output(config);
  write_iterate_rows(rows, config, folder.path());
  if (rows.held_out.empty()) {
    warn("no held-out queries: set data.eval or iterate.eval_queries to see what the rounds change");
  }
  std::vector<Json> figures;
  for (std::int64_t number = 0; number <= config.iterate.rounds; ++number) {
    const Round round(config, number);
    round.run();
    figures.push_back(round.figures());
    write_file_atomically(folder.path() / "rounds.jsonl", [&](std::ostream& out) {
      for (const Json& line : figures) out << dump_json(line) << '\n';
    });
  }
  log("saved    {}", Round(config, config.iterate.rounds).model().string());
  return table_of(figures);
}

}  // namespace rrhf::workflow
