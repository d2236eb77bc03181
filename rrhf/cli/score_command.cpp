#include "rrhf/cli/score_command.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "rrhf/cli/command.h"
#include "rrhf/cli/verbs.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/stop.h"
#include "rrhf/core/unicode.h"
#include "rrhf/report/format.h"
#include "rrhf/train/device.h"
#include "rrhf/workflow/score.h"

namespace rrhf::cli {
namespace {

using Source = workflow::ScoreTask::Source;

constexpr std::array sources{std::pair{"reward-model", Source::reward_model}, std::pair{"rule", Source::rule},
                             std::pair{"merge", Source::merge}, std::pair{"model", Source::model}};

// Flags that only some sources take.
struct SourceFlag {
  const char* name;
  std::array<std::optional<Source>, 2> sources;
};
constexpr std::array source_flags{SourceFlag{"allow-missing", {Source::merge}}, SourceFlag{"tokenizer", {Source::rule}},
                                  SourceFlag{"restart", {Source::reward_model, Source::model}},
                                  SourceFlag{"max-length", {Source::reward_model, Source::model}}};

std::string_view name_of(Source source) {
  return std::ranges::find(sources, source, &decltype(sources)::value_type::second)->first;
}

cxxopts::Options score_options() {
  cxxopts::Options options("rrhf score", "Replace the scores of rows. One source of scores is needed.");
  const auto text = [] { return cxxopts::value<std::string>(); };
  options.add_options("source")("reward-model", "LlamaForSequenceClassification folder with one label", text(), "DIR")(
      "rule", "File of rules (docs/rewards.md)", text(), "FILE.json")(
      "merge", "Scores that another program gave, as JSON lines", text(), "FILE")(
      "model", "Model folder: its length-normalized log-probs are the scores", text(), "DIR");
  add_config_flags(options);
  options.add_options()("data", "File of rows, in any layout; scores may be missing", text(), "FILE")(
      "out", "File to write: RRHF JSON lines", text(), "FILE")(
      "compare", "Write nothing: only say how the new scores agree with those of the file")(
      "json", "Write the summary as JSON", text(), "OUT.json")(
      "max-length", "Most tokens of a sequence, short for score.max_length or data.max_length", text(), "N")(
      "tokenizer", "Model folder whose tokenizer counts the tokens for rules", text(), "DIR")(
      "allow-missing", "With --merge: leave out responses that got no score")("force", "Overwrite the output file")(
      "restart", "Drop what an earlier run had finished");
  return options;
}

std::string flag(const cxxopts::ParseResult& arguments, const char* name) {
  return arguments.count(name) > 0 ? arguments[name].as<std::string>() : "";
}

std::pair<Source, std::string> source_of(const cxxopts::ParseResult& arguments) {
  std::string given;
  std::pair<Source, std::string> result{Source::rule, ""};
  for (const auto& [name, source] : sources) {
    if (arguments.count(name) == 0) continue;
    given += fmt::format("{}--{}", given.empty() ? "" : ", ", name);
    result = {source, flag(arguments, name)};
  }
  if (given.empty() || given.find(',') != std::string::npos) {
    throw_input("usage", "score needs one of --reward-model, --rule, --merge and --model{}",
                given.empty() ? "" : "; given: " + given);
  }
  return result;
}

void require_fitting_flags(const cxxopts::ParseResult& arguments, Source source) {
  for (const SourceFlag& flag : source_flags) {
    if (arguments.count(flag.name) == 0 || std::ranges::count(flag.sources, source) > 0) continue;
    std::string takers;
    for (const auto& taker : flag.sources) {
      if (taker) takers += fmt::format("{}--{}", takers.empty() ? "" : " and ", name_of(*taker));
    }
    throw_input("usage", "--{} goes with {}, not with --{}", flag.name, takers, name_of(source));
  }
}

workflow::ScoreTask score_task(const cxxopts::ParseResult& arguments) {
  workflow::ScoreTask task;
  std::tie(task.source, task.from) = source_of(arguments);
  require_fitting_flags(arguments, task.source);
  task.data = required(arguments, "data", "score");
  const bool compares = arguments.count("compare") > 0;
  task.out = compares ? flag(arguments, "out") : required(arguments, "out", "score");
  if (compares && !task.out.empty()) throw_input("usage", "--compare writes nothing; --out and it exclude each other");
  task.tokenizer = flag(arguments, "tokenizer");
  task.allow_missing = arguments.count("allow-missing") > 0;
  task.force = arguments.count("force") > 0;
  task.restart = arguments.count("restart") > 0;
  return task;
}

report::TableLine table_line(const std::string& name, const reward::ScoreTotals& totals) {
  using report::fixed;
  const double agreement = totals.agreement();
  return {name,
          std::to_string(totals.rows),
          std::to_string(totals.responses),
          fixed(totals.mean(), 4),
          fixed(totals.deviation(), 4),
          fixed(totals.least, 3),
          fixed(totals.most, 3),
          fixed(totals.mean_best(), 4),
          std::to_string(totals.ties),
          std::to_string(totals.pairs),
          std::isfinite(agreement) ? fixed(100 * agreement, 2) + " %" : "-"};
}

std::string table_of(const reward::ScoreSummary& summary) {
  std::vector<report::TableLine> lines{table_line("all", summary.all)};
  for (const auto& [name, totals] : summary.groups) lines.push_back(table_line("  " + printable(name), totals));
  return report::in_columns(report::under_headings({"", "rows", "responses", "mean", "deviation", "least", "most",
                                                    "mean of\nbest", "tied\npairs", "pairs", "pair\naccuracy"},
                                                   std::move(lines)),
                            1);
}

}  // namespace

void score_command(int argc, const char* const* argv) {
  cxxopts::Options options = score_options();
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  const workflow::ScoreTask task = score_task(*arguments);
  const std::string json = flag(*arguments, "json"), length = flag(*arguments, "max-length");
  std::vector<config::Override> overrides;
  if (task.source == Source::model) overrides.push_back({"model.path", task.from.string()});
  if (!length.empty()) {
    overrides.push_back({task.source == Source::model ? "data.max_length" : "score.max_length", length});
  }
  if (!task.out.empty()) require_writable_file(task.out, std::array{task.data, task.from});
  const std::array others{task.data, task.from, task.out};
  if (!json.empty()) require_writable_file(json, others);
  const StopSignals signals;
  const config::RunConfig config = resolve_config(*arguments, overrides);
  if (task.source == Source::model || task.source == Source::reward_model) {
    train::warn_of_slow_device(config.device, train::choose_device(config.device), config.model.dtype);
  }
  const reward::ScoreSummary summary = workflow::score(task, config);
  fmt::print("{}", table_of(summary));
  if (!json.empty()) write_file_atomically(json, dump_json(reward::to_json(summary), 2) + "\n");
}

}  // namespace rrhf::cli
