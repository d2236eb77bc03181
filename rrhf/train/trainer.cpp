#include "rrhf/train/trainer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>

#include "rrhf/checkpoint/folder_files.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/log.h"
#include "rrhf/core/stop.h"
#include "rrhf/train/device.h"
#include "rrhf/train/display.h"
#include "rrhf/train/memory_advice.h"
#include "rrhf/train/rank_writers.h"
#include "rrhf/train/same_run.h"
#include "rrhf/train/step_order.h"

namespace rrhf::train {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

config::RunConfig checked(config::RunConfig config) {
  require_training_settings(config);
  return config;
}

}  // namespace

Trainer::Trainer(config::RunConfig config, const RunOptions& options, const distributed::World& world)
    : config_(checked(std::move(config))),
      options_(options),
      world_(&world),
      output_(config_, options.resume, world.rank() == 0) {
  config::require_fitting_forms(config_);
  const at::Device device = choose_device(config_.device, world.place().local_rank);
  if (options.memory_cap) cap_memory(device, *options.memory_cap);
  folder_ = open_model_folder(config_);
  warn_of_other_encoding(*folder_, config_);
  if (config_.lora.rank) {
    base_.emplace(folder_->path, output_.path());
    base_->require_same();
  }
  // What the trained model takes along is looked at now, not first when it is saved.
  const checkpoint::CarriedFiles carried(folder_->path, checkpoint::CarriedFiles::What::tokenizer_and_generation);
  Split split = split_run_data(*folder_, config_);
  require_queries(split.train, config_, "data.train");
  require_room_on_host(split, device.is_cpu());
  train_ = std::move(split.train);
  if (split.held_out.rows() > 0) {
    eval_ = std::move(split.held_out);
    require_queries(*eval_, config_, "held-out rows");
  }

  if (updates_by_layer(config_, world.size())) {
    const std::int64_t tokens = pass_options(config_, device.is_cpu()).tokens_per_pack;
    require_steps_of_one_pack(train_, plan_steps(config_, train_.size()), tokens);
  }
  data_fingerprint_ = fingerprint(train_);
  if (eval_) data_fingerprint_.append("+").append(fingerprint(*eval_));
  require_same_run(world, config_, *folder_, train_, eval_ ? &*eval_ : nullptr);
  if (options.resume) resumed_from_ = checkpoint::latest_checkpoint(output_.path());
  world.require_same("checkpoint to resume from", resumed_from_ ? resumed_from_->string() : "none");
  groups_ = make_groups(config_.parallel, world);
  if (config_.lora.rank && groups_.shards.size() > 1) replicas_ = make_groups({}, world);
  load_model(device);
  objective_ = std::make_unique<objective::Objective>(objective_options(config_));
  pass_ = std::make_unique<Pass>(model_->llama(), *objective_, world, pass_options(config_, device.is_cpu()));
  plan_ = std::make_unique<data::StepPlan>(plan_steps(config_, train_.size()));
  schedule_ = std::make_unique<optim::Schedule>(config_.schedule.name, config_.schedule.warmup_ratio, plan_->steps());
  warn_where_nothing_is_learned();
}

void Trainer::warn_where_nothing_is_learned() const {
  const config::ObjectiveConfig& counted = config_.objective;
  if (counted.sft_weight == 0 && (counted.rank_weight == 0 || counted.rank_loss == "none")) {
    warn("objective.sft_weight 0 and {} leave no loss: nothing is learned",
         counted.rank_loss == "none" ? "objective.rank_loss none" : "objective.rank_weight 0");
  }
  if (plan_->steps() == 1 && schedule_->factor(0) == 0) {
    warn(
        "the learning rate is 0 in the only step there is, so nothing is learned: set schedule.warmup_ratio to 0, or "
        "lower train.queries_per_step ({}) for more steps",
        config_.train.queries_per_step);
  }
}

// What would not fit is refused before anything is loaded: on the CPU the system would kill the process.
void Trainer::require_room_on_host(const Split& data, bool cpu) const {
  const Sharing sharing{.devices = world_->size(), .mode = config_.parallel.mode, .cpu = cpu, .host = host_memory()};
  const auto why_with = [&](const StepShape& shape) {
    return why_too_large(plan_memory(folder_->config, config_, shape, sharing), world_->place().local_size, sharing);
  };
  // No pack has more tokens than the budget, or the longest query, or there are: mostly that tells, and none need be
  // laid out.
  std::int64_t longest = 0, all = 0;
  for (const EncodedSet* set : {&data.train, &data.held_out}) {
    for (std::int64_t i = 0; i < set->size(); ++i) {
      const std::int64_t tokens = set->size_of(i).packed();
      longest = std::max(longest, tokens);
      all += tokens;
    }
  }
  const std::int64_t most = std::max(longest, std::min(all, pass_options(config_, cpu).tokens_per_pack));
  if (!why_with({.largest_pack = {most, most}, .largest_evaluated = model::PackSize{most, most}})) return;
  if (const auto why = why_with(step_shape(data, folder_->config, config_, cpu))) {
    throw_input("memory", "{}{}", *why, cpu ? memory_advice(folder_->config, config_, sharing) : "");
  }
}

void Trainer::run() {
  // Rank 0 says what the folder holds: another machine may see it as it was some seconds ago.
  const auto rank_0_sees = [this](auto sees) { return world_->any(world_->rank() == 0 && sees()); };
  if (rank_0_sees([this] { return output_.finished(); })) {
    log("{}: already trained to its end", (output_.path() / "model").string());
    return;
  }
  const StopSignals signals;
  // A run that was stopped in the middle of an evaluation has saved the step before it.
  const bool evaluated_before = first_step_ > 0 && rank_0_sees([this] { return output_.evaluated(first_step_); });
  const bool evaluate_first = first_step_ < plan_->steps() && evaluation_due(first_step_) && !evaluated_before;
  // Adapters that stand under their name are trained to their end; the model is still to be made of them.
  const bool adapters_done = config_.lora.rank && rank_0_sees([this] { return is_folder(adapter_folder()); });
  world_->barrier();  // every rank has seen the folder as it was
  output_.begin(adapters_done ? plan_->steps() : first_step_, skipped_rows());
  if (base_ && world_->rank() == 0) base_->record();
  require_shared_output();
  if (adapters_done) return save_merged_model();
  log_run_header(config_, model_->llama(), train_, model_->bytes(), options_.memory_cap);
  if (resumed_from_) log("resumed  from {}, step {} of {}", resumed_from_->string(), first_step_, plan_->steps());
  if (evaluate_first) evaluate_and_log(first_step_);

  matrix_rate_ = measure_matrix_rate(model_->llama().device(), model_->llama().dtype());
  StepDisplay display(first_step_, plan_->steps());
  PassesAhead passes(train_, *plan_, first_step_, pass_->place());
  for (std::int64_t k = first_step_; k < plan_->steps(); ++k) {
    const Json metrics = train_step(k, passes);
    const std::int64_t done = k + 1;
    output_.write_metrics(metrics);
    display.update(done, metrics);
    if (done == plan_->steps()) break;
    if (evaluation_due(done)) evaluate_and_log(done);
    if (config_.checkpoint.every_steps && done % *config_.checkpoint.every_steps == 0) save_checkpoint(done);
    if (world_->any(StopSignals::requested())) stop_after(done);
  }
  prepared_seconds_ = passes.seconds();
  require_finite_weights();
  if (eval_ && !(evaluated_before && first_step_ == plan_->steps())) evaluate_and_log(plan_->steps());
  save_final_model();
}

Json Trainer::train_step(std::int64_t k, PassesAhead& passes) {
  const auto begin = Clock::now();
  const at::Device device = model_->llama().device();
  StepWork work;
  if (options_.exact_times && device.is_cuda()) work.times.wait_with([device] { wait_for(device); });
  work.times.start();
  const double learning_rate = config_.optimizer.learning_rate * schedule_->factor(k);
  model_->begin_step(learning_rate);
  work.times.end_of(Part::optimizer);
  const Totals totals = sum_of(pass_->accumulate_gradients([&] { return passes.next(); }, model_->gradients(), work));
  const double norm = model_->gradient_norm();
  if (!std::isfinite(totals.loss) || !std::isfinite(norm)) {
    throw_error("train",
                "step {}: the loss ({}) or its gradient (norm {}) is not finite; a lower optimizer.learning_rate or a "
                "longer schedule.warmup_ratio may help; checkpoints of earlier steps are kept",
                k + 1, totals.mean(totals.loss), norm);
  }
  model_->update(norm, config_.optimizer.max_grad_norm);
  wait_for(device);
  work.times.end_of(Part::optimizer);
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  work_ += work;
  const RankWork ranks = exchange_work(work, seconds, *world_, device);
  Json metrics = {{"step", k + 1}, {"epoch", plan_->epochs_after(k)}};
  metrics.update(loss_fields(totals));
  metrics["grad_norm"] = norm;
  metrics["learning_rate"] = learning_rate;
  metrics["queries"] = totals.queries;
  metrics["tokens"] = totals.tokens;
  metrics["timing"] = timing_fields(work, seconds, totals.tokens, matrix_rate_, peak_memory(device), ranks);
  return metrics;
}

// Found out now, and not at the first checkpoint: every rank writes its part of it into one folder.
void Trainer::require_shared_output() const {
  if (world_->size() == 1) return;
  const RankWriters writers(*world_);
  const checkpoint::JointFolder trial(output_.path() / "model", 0, writers);
  world_->require_same("view of the output folder, which must be on a file system that all machines share",
                       fmt::format("what rank 0 writes is seen: {}, in {}", is_folder(trial.path()) ? "yes" : "no",
                                   output_.path().string()));
}

// Those trained on and those held out.
std::vector<SkippedRow> Trainer::skipped_rows() const {
  std::vector<SkippedRow> rows = train_.skipped();
  if (eval_) std::ranges::move(eval_->skipped(), std::back_inserter(rows));
  return rows;
}

bool Trainer::evaluation_due(std::int64_t steps_done) const {
  if (!eval_) return false;
  return steps_done == 0 || (config_.eval.every_steps && steps_done % *config_.eval.every_steps == 0);
}

// The last update is followed by no loss that would show what it did.
void Trainer::require_finite_weights() const {
  if (!world_->any(!std::isfinite(model_->largest_weight()))) return;
  throw_error("train",
              "the last update left weights that are not finite, so no model is saved; a lower "
              "optimizer.learning_rate may help; checkpoints of earlier steps are kept");
}

void Trainer::stop_after(std::int64_t steps_done) {
  if (saved_step_ != steps_done) save_checkpoint(steps_done);
  throw Interrupted("train", fmt::format("stopped after step {} of {}, which is saved; --resume goes on from there",
                                         steps_done, plan_->steps()));
}

void Trainer::evaluate_and_log(std::int64_t steps_done) {
  const auto begin = Clock::now();
  const std::optional<Evaluation> result = evaluate(*pass_, *eval_);
  if (!result) stop_after(steps_done);
  const Json evaluation = to_json(*result);
  Json line = {{"event", "eval"}, {"step", steps_done}};
  line.update(evaluation);
  line["timing"] = {{"seconds", std::chrono::duration<double>(Clock::now() - begin).count()}};
  output_.write_metrics(line);
  log_evaluation(evaluation, steps_done);
}

std::string Trainer::profile() const { return profile_table(work_, matrix_rate_, prepared_seconds_); }

}  // namespace rrhf::train
