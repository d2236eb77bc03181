#include "rrhf/workflow/iterate_inputs.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <ostream>
#include <string>

#include "rrhf/checkpoint/reward_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/part_file.h"
#include "rrhf/reward/rule_file.h"
#include "rrhf/train/trainer.h"
#include "rrhf/workflow/sources.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::RunConfig;

bool ranks(const RunConfig& config) { return config.objective.rank_loss != "none"; }

std::vector<std::string> query_files(const RunConfig& config) {
  if (!config.iterate.queries.empty()) return {config.iterate.queries};
  return config.data.train;
}

std::vector<std::string> held_out_files(const RunConfig& config) {
  if (!config.iterate.eval_queries.empty()) return {config.iterate.eval_queries};
  return config.data.eval;
}

std::vector<std::string> mistakes_of(const RunConfig& config) {
  std::vector<std::string> mistakes;
  const auto refuse_if = [&](bool wrong, std::string message) {
    if (wrong) mistakes.push_back(std::move(message));
  };
  refuse_if(query_files(config).empty(),
            "no queries: set iterate.queries (a file of queries) or data.train (rows whose queries are taken)");
  const bool rule = !config.score.rule.empty(), reward_model = !config.score.reward_model.empty();
  refuse_if(!rule && !reward_model,
            "nothing gives rewards: set score.rule (a rule file) or score.reward_model (a folder)");
  refuse_if(rule && reward_model, "score.rule and score.reward_model are both set: one of them gives the rewards");
  refuse_if(config.data.eval_fraction > 0,
            "data.eval_fraction holds out other rows than the queries of a round: name held-out rows in data.eval, or "
            "held-out queries in iterate.eval_queries");
  refuse_if(config.data.responses != ResponseChoice::all,
            fmt::format("data.responses is {}: iterate.keep says which responses a round trains on",
                        name_of(config.data.responses)));
  refuse_if(config.model.random_init, "model.random_init is set: the first round samples from the model in model.path");
  refuse_if(ranks(config) && config.sample.decoding.answers == 1 && config.iterate.keep == KeptResponses::none,
            "sample.responses is 1 and iterate.keep is none: one response a query makes no pair to rank");
  return mistakes;
}

// Rows of several files, in order.
std::vector<data::OpenRow> read_files(const std::vector<std::string>& files, DataFormat format) {
  std::vector<data::OpenRow> rows;
  for (const std::string& file : files) std::ranges::move(data::read_open_rows(file, format), std::back_inserter(rows));
  return rows;
}

void drop_responses(std::vector<data::OpenRow>& rows) {
  for (data::OpenRow& row : rows) {
    row.responses.clear();
    row.json["responses"] = Json::array();
    row.json["scores"] = Json::array();
    row.json.erase("writers");
    row.json.erase("sources");
  }
}

void require_pairs(const RunConfig& config, const std::vector<data::OpenRow>& rows) {
  const auto most = std::ranges::max(rows, {}, [](const data::OpenRow& row) { return row.responses.size(); });
  if (!ranks(config) || config.sample.decoding.answers + std::ssize(most.responses) > 1) return;
  throw_input("iterate",
              "sample.responses is 1 and no row of {} has a response of its own: one response a query makes no pair "
              "to rank",
              fmt::join(query_files(config), ", "));
}

void require_rewards(const RunConfig& config) {
  if (!config.score.reward_model.empty()) {
    checkpoint::load_reward_config(config.score.reward_model);
    return;
  }
  const text::Tokenizer tokenizer = text::Tokenizer::load(config.model.path);
  reward::RuleFile::load(config.score.rule, &tokenizer);
}

// What decides the run beside its settings.
Json identity_of(const RunConfig& config) {
  Sources sources;
  sources.add_template("data.template", config.data.template_name);
  sources.add_template("score.template", config.score.template_name);
  sources.add_folder("model.path", config.model.path);
  for (const std::string& file : query_files(config)) sources.add_file("queries", file);
  for (const std::string& file : held_out_files(config)) sources.add_file("held-out queries", file);
  for (const std::string& file : config.data.eval) sources.add_file("data.eval", file);
  if (!config.score.rule.empty()) sources.add_file("score.rule", config.score.rule);
  if (!config.score.reward_model.empty()) sources.add_folder("score.reward_model", config.score.reward_model);
  return sources.json();
}

void write_rows(const fs::path& path, const std::vector<data::OpenRow>& rows) {
  if (rows.empty() || path_exists(path)) return;
  write_file_atomically(path, [&](std::ostream& out) {
    for (const data::OpenRow& row : rows) out << dump_json(row.json) << '\n';
  });
}

}  // namespace

AnswerSettings sampling_settings(const RunConfig& config, const fs::path& model) {
  AnswerSettings settings{.model = model,
                          .template_name = config.data.template_name,
                          .decoding = config.sample.decoding,
                          .max_prompt_tokens = config.sample.max_prompt_tokens,
                          .special_tokens = config.data.special_tokens,
                          .dtype = config.model.dtype,
                          .device = config.device,
                          .sequences = config.sample.batch};
  if (settings.decoding.stop.empty()) settings.decoding.stop = default_stops(settings.template_name);
  return settings;
}

// What data.format says for data.eval, it would say for the samples too, which are rows of the RRHF layout.
bool copies_eval_rows(const RunConfig& config) {
  const DataFormat format = config.data.format;
  return !config.data.eval.empty() && format != DataFormat::automatic && format != DataFormat::rrhf;
}

IterateRows read_iterate_rows(const RunConfig& config) {
  const std::vector<std::string> mistakes = mistakes_of(config);
  if (!mistakes.empty()) throw InputError("iterate", fmt::format("{}", fmt::join(mistakes, "\n")));
  check_decoding(config.sample.decoding);
  const train::ModelFolder folder = train::open_model_folder(config);
  require_rewards(config);
  IterateRows rows;
  rows.queries = read_files(query_files(config), config.data.format);
  if (config.iterate.keep == KeptResponses::none) drop_responses(rows.queries);
  require_pairs(config, rows.queries);
  rows.held_out = read_files(held_out_files(config), config.data.format);
  drop_responses(rows.held_out);
  const Answerer answerer(sampling_settings(config, config.model.path));
  answerer.prompts(data::queries_of(rows.queries));
  answerer.prompts(data::queries_of(rows.held_out));
  if (!config.data.eval.empty()) train::tokenize_files(config.data.eval, folder, config);
  if (copies_eval_rows(config)) rows.eval = read_files(config.data.eval, config.data.format);
  return rows;
}

void write_iterate_rows(const IterateRows& rows, const RunConfig& config, const fs::path& output) {
  const fs::path inputs = output / "inputs.json";
  const Json identity = identity_of(config);
  if (path_exists(inputs)) {
    const std::string differing = differing_keys(parse_json(read_file(inputs), "iterate", inputs.string()), identity);
    if (!differing.empty()) {
      throw_input("iterate", "{}: can't be resumed, what it began from has changed since:{}", output.string(),
                  differing);
    }
  } else {
    write_file_atomically(inputs, dump_json(identity, 2) + "\n");
  }
  write_rows(output / "queries.jsonl", rows.queries);
  write_rows(output / "held-out.jsonl", rows.held_out);
  write_rows(output / "eval.jsonl", rows.eval);
}

}  // namespace rrhf::workflow
