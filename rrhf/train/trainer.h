// The training loop.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/config/run_config.h"
#include "rrhf/data/step_plan.h"
#include "rrhf/optim/schedule.h"
#include "rrhf/train/evaluate.h"
#include "rrhf/train/frozen_base.h"
#include "rrhf/train/inputs.h"
#include "rrhf/train/pass.h"
#include "rrhf/train/run_folder.h"
#include "rrhf/train/trained_model.h"

namespace rrhf::train {

/// How a run is carried out, beside its config.
struct RunOptions {
  bool resume = false;                     ///< go on from the last checkpoint
  bool exact_times = false;                ///< wait for a GPU at the end of each part, so that its time is its own
  std::optional<std::int64_t> memory_cap;  ///< bytes that a GPU is taken to have
};

/// Trains one run from its first or its resumed step to its last, and saves it. Every rank of the world makes the same
/// calls; rank 0 alone writes what is not the model's.
class Trainer {
 public:
  /// Reads data and model. Throws InputError for anything wrong with either, before the output folder is made.
  /// `world` must outlive this.
  Trainer(config::RunConfig config, const RunOptions& options, const distributed::World& world);

  /// Throws Interrupted after saving a checkpoint when a stop signal comes.
  void run();

  /// Where the time of the steps of run() went: a table.
  std::string profile() const;

 private:
  void require_room_on_host(const Split& data, bool cpu) const;
  void warn_where_nothing_is_learned() const;
  void load_model(at::Device device);
  void resume_model();
  Json train_step(std::int64_t k, PassesAhead& passes);
  void require_shared_output() const;
  std::vector<SkippedRow> skipped_rows() const;
  bool evaluation_due(std::int64_t steps_done) const;
  void evaluate_and_log(std::int64_t steps_done);
  void require_finite_weights() const;
  [[noreturn]] void stop_after(std::int64_t steps_done);
  void save_checkpoint(std::int64_t steps_done);
  void save_final_model();
  std::filesystem::path adapter_folder() const;
  void save_adapters();
  void save_merged_model();
  bool fits_saved_dtype() const;
  Dtype trained_dtype() const;
  checkpoint::SaveOptions save_options(Dtype dtype) const;

  config::RunConfig config_;
  RunOptions options_;
  const distributed::World* world_;
  RunFolder output_;
  std::optional<ModelFolder> folder_;
  EncodedSet train_;
  std::string data_fingerprint_;  // of train_, and after a + of eval_
  std::optional<EncodedSet> eval_;
  std::optional<std::filesystem::path> resumed_from_;
  Groups groups_;
  std::optional<FrozenBase> base_;  // of adapters
  std::optional<Groups> replicas_;  // for adapters, where the weights are in parts
  std::unique_ptr<TrainedModel> model_;
  std::unique_ptr<objective::Objective> objective_;
  std::unique_ptr<Pass> pass_;
  std::unique_ptr<data::StepPlan> plan_;
  std::unique_ptr<optim::Schedule> schedule_;
  std::int64_t first_step_ = 0;
  std::int64_t saved_step_ = -1;  // of the newest checkpoint
  StepWork work_;                 // of all steps of run()
  double prepared_seconds_ = 0;   // spent on their packs by another thread
  double matrix_rate_ = 0;        // operations a second
};

}  // namespace rrhf::train
