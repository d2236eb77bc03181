#include "rrhf/workflow/round.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/core/stop.h"
#include "rrhf/data/open_rows.h"
#include "rrhf/reward/summary.h"
#include "rrhf/workflow/iterate_inputs.h"
#include "rrhf/workflow/sample.h"
#include "rrhf/workflow/score.h"
#include "rrhf/workflow/train.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;
using config::RunConfig;

// One unit of work with its product. Nothing where the product is there already.
struct Stage {
  std::string doing;  // "sampling", for messages
  bool done = false;
  std::function<void()> work;
};

void run_stage(const std::string& round, const Stage& stage) {
  if (stage.done) return;
  log("{}: {}", round, stage.doing);
  const auto stopped = [&] {
    return Interrupted("iterate", fmt::format("stopped in {}, {}; the same command with --resume goes on from there",
                                              round, stage.doing));
  };
  try {
    stage.work();
  } catch (const Interrupted& stop) {
    log_line(stop.what());
    throw stopped();
  }
  // A signal that came after the stage last looked.
  if (StopSignals::requested()) throw stopped();
}

ScoreTask scoring(const RunConfig& config, const fs::path& data, const fs::path& out) {
  const bool by_rule = !config.score.rule.empty();
  return {.source = by_rule ? ScoreTask::Source::rule : ScoreTask::Source::reward_model,
          .from = by_rule ? config.score.rule : config.score.reward_model,
          .data = data,
          .out = out,
          .tokenizer = config.model.path};
}

// The settings for a file of the run's own; data.eval is not among these.
RunConfig for_own_file(RunConfig config) {
  config.data.format = DataFormat::rrhf;
  return config;
}

// Rewards of a scored file: of all responses, or of those that its rows have beyond those of `source`, row by row.
reward::ScoreTotals rewards_of(const fs::path& file, const fs::path& source = {}) {
  std::vector<data::OpenRow> before;
  if (!source.empty()) before = data::read_open_rows(source, DataFormat::rrhf);
  reward::ScoreTotals totals;
  std::size_t number = 0;
  for (const reward::Row& row : reward::read_rows(file, DataFormat::rrhf)) {
    std::vector<std::optional<double>> scores = row.before;
    if (!before.empty()) std::fill_n(scores.begin(), before.at(number++).responses.size(), std::nullopt);
    totals.add(row, scores);
  }
  return totals;
}

// Means over nothing are null: with sample.unique a round may bring no response that was not there.
Json number_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json fields_of(const reward::ScoreTotals& totals) {
  return {{"rows", totals.rows},
          {"responses", totals.responses},
          {"mean", number_or_null(totals.mean())},
          {"best", number_or_null(totals.mean_best())}};
}

}  // namespace

Round::Round(const RunConfig& config, std::int64_t number)
    : config_(config), number_(number), output_(config.output), folder_(output_ / fmt::format("round-{:03}", number)) {}

fs::path Round::model() const { return number_ == 0 ? fs::path(config_.model.path) : folder_ / "model"; }

// The rows that samples are added to.
fs::path Round::answered_file() const {
  const bool earlier = config_.iterate.keep == KeptResponses::all && number_ > 1;
  return earlier ? before().file("ranked.jsonl") : run_file("queries.jsonl");
}

// Other draws and another order of the rows than in the rounds before. One format holds for both files of the training:
// data.eval in another one than the samples is read from the copy that the run began with.
RunConfig Round::train_config() const {
  RunConfig config = config_;
  if (config.data.format != DataFormat::automatic) config.data.format = DataFormat::rrhf;
  if (copies_eval_rows(config_)) config.data.eval = {run_file("eval.jsonl").string()};
  config.model.path = before().model().string();
  config.data.train = {file("ranked.jsonl").string()};
  config.train.seed += number_ - 1;
  config.output = folder_.string();
  return config;
}

AnswerSettings Round::answers(const fs::path& model) const { return sampling_settings(config_, model); }

void Round::run() const {
  make_writable_folder(folder_);
  remove_abandoned(folder_);
  std::vector<Stage> stages;
  const auto add = [&](std::string doing, const char* product, void (Round::*work)() const) {
    stages.push_back({std::move(doing), path_exists(file(product)), [this, work] { (this->*work)(); }});
  };
  if (number_ > 0) {
    // From here on the folder holds a training run, which resumes as any other.
    if (!path_exists(file("config.json"))) {
      write_file_atomically(file("config.json"), dump_json(config::to_json(train_config()), 2) + "\n");
    }
    add("sampling", "sampled.jsonl", &Round::sample);
    add("scoring", "ranked.jsonl", &Round::score);
    add("training", "report.html", &Round::train);
  }
  if (path_exists(run_file("held-out.jsonl"))) {
    add("answering held-out queries", "held-out-greedy.jsonl", &Round::answer_greedily);
    add("sampling for held-out queries", "held-out-sampled.jsonl", &Round::sample_held_out);
  }
  if (!config_.data.eval.empty()) add("evaluating", "eval.json", &Round::evaluate);
  const std::string name =
      number_ == 0 ? "round 0 (the start)" : fmt::format("round {} of {}", number_, config_.iterate.rounds);
  for (const Stage& stage : stages) run_stage(name, stage);
  // Of a run that was killed just after it had scored them.
  for (const char* answers : {"held-out-greedy-unscored.jsonl", "held-out-sampled-unscored.jsonl"}) {
    fs::remove(file(answers));
  }
}

void Round::sample() const {
  SampleTask task{.answers = answers(before().model()),
                  .data = answered_file(),
                  .format = DataFormat::rrhf,
                  .out = file("sampled.jsonl"),
                  .writer = fmt::format("round-{:03} {}", number_, name_of(config_.sample.decoding.method)),
                  .unique = config_.sample.unique};
  task.answers.decoding.seed += static_cast<std::uint64_t>(number_ - 1);
  const StopSignals signals;
  workflow::sample(task);
}

void Round::score() const {
  const StopSignals signals;
  workflow::score(scoring(config_, file("sampled.jsonl"), file("ranked.jsonl")), for_own_file(config_));
}

void Round::require_unequal_rewards() const {
  if (config_.objective.rank_loss == "none") return;
  const auto rows = reward::read_rows(file("ranked.jsonl"), DataFormat::rrhf);
  const bool any = std::ranges::any_of(rows, [](const reward::Row& row) {
    return std::ranges::any_of(row.before, [&](const auto& score) { return score != row.before.front(); });
  });
  if (any) return;
  throw_error("iterate",
              "round {}: in every row of {} all responses have the same reward, so there is nothing to rank; other "
              "sampling (sample.method, .temperature, .responses) or another score.rule may tell them apart",
              number_, file("ranked.jsonl").string());
}

void Round::train() const {
  require_unequal_rewards();
  const distributed::World world;
  train_model(train_config(), {.resume = true}, world);
}

void Round::answer_held_out(const char* name, const AnswerSettings& settings) const {
  const fs::path answered = file(fmt::format("{}-unscored.jsonl", name).c_str());
  const StopSignals signals;
  if (!path_exists(answered)) {
    workflow::sample({.answers = settings,
                      .data = run_file("held-out.jsonl"),
                      .format = DataFormat::rrhf,
                      .out = answered,
                      .writer = fmt::format("round-{:03}/model {}", number_, name_of(settings.decoding.method))});
  }
  workflow::score(scoring(config_, answered, file(fmt::format("{}.jsonl", name).c_str())), for_own_file(config_));
}

void Round::answer_greedily() const {
  AnswerSettings settings = answers(model());
  settings.decoding.method = DecodingMethod::greedy;
  settings.decoding.answers = 1;
  answer_held_out("held-out-greedy", settings);
}

void Round::sample_held_out() const { answer_held_out("held-out-sampled", answers(model())); }

void Round::evaluate() const {
  RunConfig config = config_;
  config.model.path = model().string();
  write_file_atomically(file("eval.json"), dump_json(train::to_json(evaluate_model(config)), 2) + "\n");
}

Json Round::figures() const {
  Json line = {{"round", number_},
               {"model", number_ == 0 ? config_.model.path : (folder_.filename() / "model").string()}};
  if (number_ > 0) {
    line["samples"] = fields_of(rewards_of(file("ranked.jsonl"), answered_file()));
    line["trained_on"] = fields_of(rewards_of(file("ranked.jsonl")));
  }
  if (path_exists(run_file("held-out.jsonl"))) {
    const auto greedy = rewards_of(file("held-out-greedy.jsonl")), sampled = rewards_of(file("held-out-sampled.jsonl"));
    line["held_out"] = {{"queries", greedy.rows},
                        {"greedy", number_or_null(greedy.mean())},
                        {"sampled", number_or_null(sampled.mean())},
                        {"best", number_or_null(sampled.mean_best())}};
  }
  if (!config_.data.eval.empty()) {
    line["eval"] = parse_json(read_file(file("eval.json")), "iterate", file("eval.json").string());
  }
  return line;
}

}  // namespace rrhf::workflow
