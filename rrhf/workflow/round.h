// One round of an iterated run: sample, score, train, evaluate, each stage done once.
//
// ROUND/sampled.jsonl                    queries.jsonl with this round's samples, by the model of the round before
//       ranked.jsonl                     the same with rewards: what the round trains on
//       config.json, metrics.jsonl, checkpoints/, report.html, model/        the training run (train/run_folder.h)
//       held-out-greedy.jsonl, held-out-sampled.jsonl      its model's answers to held-out.jsonl, with rewards
//       eval.json                        its model's figures on data.eval
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "rrhf/config/run_config.h"
#include "rrhf/core/json.h"
#include "rrhf/workflow/answerer.h"

namespace rrhf::workflow {

/// Round 0 only evaluates the model that the run began from. Keeps no more than paths and settings.
class Round {
 public:
  /// `config` is the run's.
  Round(const config::RunConfig& config, std::int64_t number);

  /// Does the stages that are not done. Needs the rounds before to be finished.
  /// Throws as the stages do; Error where no row has a pair of unequal rewards; Interrupted when a stop signal comes.
  void run() const;

  /// What is known of the round: a line of rounds.jsonl. Made of the products alone, so it is the same for a run that
  /// was interrupted. {"round", "model"}, and, where there are such: "samples" {"rows", "responses", "mean", "best"} of
  /// this round's samples, "trained_on" the same of all responses of ranked.jsonl, "held_out" {"queries", "greedy",
  /// "sampled", "best"}, "eval" train::to_json(Evaluation).
  Json figures() const;

  const std::filesystem::path& folder() const noexcept { return folder_; }

  /// The model that the round leaves.
  std::filesystem::path model() const;

 private:
  std::filesystem::path file(const char* name) const { return folder_ / name; }
  std::filesystem::path run_file(const char* name) const { return output_ / name; }
  Round before() const { return {config_, number_ - 1}; }

  std::filesystem::path answered_file() const;
  config::RunConfig train_config() const;
  AnswerSettings answers(const std::filesystem::path& model) const;
  void sample() const;
  void score() const;
  void require_unequal_rewards() const;
  void train() const;
  void answer_held_out(const char* name, const AnswerSettings& settings) const;
  void answer_greedily() const;
  void sample_held_out() const;
  void evaluate() const;

  config::RunConfig config_;
  std::int64_t number_;
  std::filesystem::path output_;
  std::filesystem::path folder_;
};

}  // namespace rrhf::workflow
