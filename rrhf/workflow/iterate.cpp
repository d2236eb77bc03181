#include "rrhf/workflow/iterate.h"

#include <array>
#include <cmath>
#include <filesystem>
#include <optional>
#include <ostream>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"
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

// The round, six rewards, an accuracy, a perplexity: 80 characters.
std::string table_line(const std::array<std::string, 9>& cells) {
  std::string line = fmt::format("{:<5}", cells[0]);
  for (std::size_t i = 1; i < 8; ++i) line += fmt::format(" {:>8}", cells[i]);
  return line + fmt::format(" {:>11}\n", cells[8]);
}

std::string table_line_of(const Json& line) {
  const std::int64_t round = line.at("round").get<std::int64_t>();
  const std::string accuracy = figure(line, "eval", "rank_accuracy", 1, 100);
  return table_line({round == 0 ? "start" : fmt::format("{}", round), figure(line, "samples", "mean", 4),
                     figure(line, "samples", "best", 4), figure(line, "trained_on", "best", 4),
                     figure(line, "held_out", "greedy", 4), figure(line, "held_out", "sampled", 4),
                     figure(line, "held_out", "best", 4), accuracy == "-" ? accuracy : accuracy + " %",
                     figure(line, "eval", "perplexity", 3)});
}

std::string table_of(const std::vector<Json>& rounds) {
  std::string table = fmt::format("{:<5}  {:-^25}  {:-^25}  {:-^19}\n", "", " trained on, reward of ",
                                  " held-out, reward of ", " data.eval ");
  table += table_line({"", "", "", "best of", "", "", "", "ranking", "perplexity"});
  table += table_line({"round", "samples", "best of", "all", "greedy", "samples", "best of", "accuracy", "(best)"});
  for (const Json& line : rounds) table += table_line_of(line);
  return table;
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
