#include "rrhf/cli/eval_command.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "rrhf/cli/command.h"
#include "rrhf/core/file.h"
#include "rrhf/core/unicode.h"
#include "rrhf/report/format.h"
#include "rrhf/train/device.h"
#include "rrhf/workflow/train.h"

namespace rrhf::cli {
namespace {

report::TableLine table_line(const std::string& name, const train::Totals& totals) {
  return {name,
          std::to_string(totals.queries),
          report::fixed(100 * totals.rank_accuracy(), 1) + " %",
          report::fixed(totals.margin(), 4),
          report::fixed(totals.perplexity(), 3),
          report::fixed(totals.mean(totals.loss), 4),
          report::fixed(totals.mean(totals.rank_loss), 4),
          report::fixed(totals.mean(totals.sft_loss), 4)};
}

std::string table_of(const train::Evaluation& evaluation) {
  std::vector<report::TableLine> lines{table_line("all", evaluation.all)};
  for (const auto& [name, totals] : evaluation.groups) lines.push_back(table_line("  " + printable(name), totals));
  return report::in_columns(report::under_headings({"", "queries", "ranking\naccuracy", "mean\nmargin",
                                                    "perplexity\n(best)", "loss", "rank\nloss", "SFT\nloss"},
                                                   std::move(lines)),
                            1);
}

void evaluate(const cxxopts::ParseResult& arguments, const config::RunConfig& config) {
  const auto flag = [&](const char* name) {
    return arguments.count(name) > 0 ? arguments[name].as<std::string>() : "";
  };
  const std::string per_response = flag("per-response"), json = flag("json");
  std::vector<std::filesystem::path> used{std::filesystem::path(config.model.path) / "config.json"};
  used.insert(used.end(), config.data.eval.begin(), config.data.eval.end());
  used.insert(used.end(), config.data.train.begin(), config.data.train.end());
  for (const std::string& path : {per_response, json}) {
    if (path.empty()) continue;
    require_writable_file(path, used);
    used.emplace_back(path);
  }
  train::warn_of_slow_device(config.device, train::choose_device(config.device), config.model.dtype);
  const train::Evaluation evaluation = workflow::evaluate_model(config, per_response);
  if (!json.empty()) write_file_atomically(json, dump_json(train::to_json(evaluation), 2) + "\n");
  fmt::print("{}", table_of(evaluation));
}

}  // namespace

void eval_command(int argc, const char* const* argv) {
  cxxopts::Options options("rrhf eval", "Score ranked responses with a model: accuracy, margin, perplexity, losses.");
  add_config_flags(options);
  options.add_options()("model", "Model folder, short for --set model.path=DIR", cxxopts::value<std::string>(), "DIR")(
      "data", "File of ranked responses, short for --set data.eval=FILE; may be repeated",
      cxxopts::value<std::vector<std::string>>(),
      "FILE")("per-response", "Write each response's log-prob and score", cxxopts::value<std::string>(), "OUT.jsonl")(
      "json", "Write the figures as JSON", cxxopts::value<std::string>(), "OUT.json");
  options.parse_positional({"config"});
  options.positional_help("[CONFIG.json]");
  const auto arguments = parse(options, argc, argv);
  if (!arguments) return;
  std::vector<config::Override> overrides;
  if (arguments->count("model") > 0) overrides.push_back({"model.path", (*arguments)["model"].as<std::string>()});
  if (arguments->count("data") > 0) overrides.push_back({"data.eval", dump_json(values(*arguments, "data"))});
  evaluate(*arguments, resolve_config(*arguments, overrides));
}

}  // namespace rrhf::cli
