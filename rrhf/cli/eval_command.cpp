#include "rrhf/cli/eval_command.h"

#include <algorithm>
#include <cmath>

#include "rrhf/cli/command.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/core/unicode.h"
#include "rrhf/train/evaluate.h"
#include "rrhf/train/trainer.h"

namespace rrhf::cli {
namespace {

// The rows to evaluate: data.eval, or what data.eval_fraction holds out of data.train.
train::EncodedSet evaluation_set(const train::ModelFolder& folder, const config::RunConfig& config) {
  if (config.data.eval.empty()) return train::split_train_data(folder, config).held_out;
  train::EncodedSet set;
  set.add(train::tokenize_files(config.data.eval, folder, config));
  return set;
}

void print_row(const std::string& name, std::size_t width, const train::Totals& totals) {
  const auto figure = [](double value, int decimals) {
    return std::isfinite(value) ? fmt::format("{:.{}f}", value, decimals) : "-";
  };
  fmt::print("{:<{}} {:>8} {:>16} {:>12} {:>18} {:>10} {:>10} {:>10}\n", name, width, totals.queries,
             figure(100 * totals.rank_accuracy(), 1) + " %", figure(totals.margin(), 4), figure(totals.perplexity(), 3),
             figure(totals.mean(totals.loss), 4), figure(totals.mean(totals.rank_loss), 4),
             figure(totals.mean(totals.sft_loss), 4));
}

void print_table(const train::Evaluation& evaluation) {
  std::size_t width = 20;
  for (const auto& [name, totals] : evaluation.groups) width = std::max(width, code_points(name) + 2);
  fmt::print("{:<{}} {:>8} {:>16} {:>12} {:>18} {:>10} {:>10} {:>10}\n", "", width, "queries", "ranking accuracy",
             "mean margin", "perplexity (best)", "loss", "rank loss", "SFT loss");
  print_row("all", width, evaluation.all);
  for (const auto& [name, totals] : evaluation.groups) print_row("  " + name, width, totals);
}

void evaluate(const cxxopts::ParseResult& arguments, const config::RunConfig& config) {
  const auto flag = [&](const char* name) {
    return arguments.count(name) > 0 ? arguments[name].as<std::string>() : "";
  };
  const std::string per_response = flag("per-response"), json = flag("json");
  for (const std::string& path : {per_response, json}) {
    if (!path.empty()) require_writable_file(path);
  }
  const at::Device device = train::choose_device(config.device);
  if (config.data.eval.empty() && (config.data.eval_fraction == 0 || config.data.train.empty())) {
    throw_input("config", "nothing to evaluate: set data.eval (--data FILE), or data.train with data.eval_fraction");
  }
  const train::ModelFolder folder = train::open_model_folder(config);
  train::warn_of_other_encoding(folder, config);
  const train::EncodedSet set = evaluation_set(folder, config);
  train::require_queries(set, config, "the data");
  const model::Llama llama = train::load_llama(config, folder, device, folder.path);
  const objective::Objective objective(train::objective_options(config));
  const distributed::World world;
  const train::Pass pass(llama, objective, world, train::pass_options(config));

  const StopSignals signals;
  train::PerResponseTable table(set);
  const auto evaluation = train::evaluate(pass, set, [&](const auto& query, const auto& loss, auto logprobs_K) {
    if (!per_response.empty()) table.add(query, loss, logprobs_K);
  });
  if (evaluation && !std::isfinite(evaluation->all.loss)) {
    throw_error("eval", "{}: the log-probs of its responses are not finite numbers: its weights are broken",
                folder.path.string());
  }
  if (!evaluation) throw Interrupted("eval", "stopped before the evaluation was complete; nothing is written");
  if (!per_response.empty()) table.write(per_response);
  if (!json.empty()) write_file_atomically(json, dump_json(train::to_json(*evaluation), 2) + "\n");
  print_table(*evaluation);
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
