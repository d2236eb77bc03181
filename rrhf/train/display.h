// What a person sees of a training run.
#pragma once

#include <chrono>
#include <cstdint>

#include "rrhf/config/run_config.h"
#include "rrhf/core/json.h"
#include "rrhf/core/log.h"
#include "rrhf/model/llama.h"
#include "rrhf/train/inputs.h"
#include "rrhf/train/trained_model.h"

namespace rrhf::train {

/// The lines before the first step: model, data, memory of this rank.
void log_run_header(const config::RunConfig& config, const model::Llama& llama, const EncodedSet& set,
                    const PartBytes& bytes, std::optional<std::int64_t> memory_cap);

/// One line about the finished evaluation.
void log_evaluation(const Json& evaluation, std::int64_t step);

/// The progress line: step, losses, accuracy, speed and time left.
class StepDisplay {
 public:
  StepDisplay(std::int64_t first_step, std::int64_t steps);
  void update(std::int64_t steps_done, const Json& metrics);

 private:
  std::chrono::steady_clock::time_point start_;
  std::int64_t first_step_;
  std::int64_t steps_;
  Progress progress_;
};

/// Largest resident set of this process so far, in bytes.
std::int64_t peak_memory();

}  // namespace rrhf::train
