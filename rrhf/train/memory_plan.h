// What a run will take, before its model is loaded: memory a device by part, and the tokens of a step.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "rrhf/config/run_config.h"
#include "rrhf/model/memory.h"
#include "rrhf/train/inputs.h"

namespace rrhf::train {

/// The work of a run as its packs will lie.
struct StepShape {
  model::PackSize largest_pack;                      ///< the one that takes the most memory
  std::optional<model::PackSize> largest_evaluated;  ///< the same of an evaluation; none where nothing is held out
  std::int64_t queries = 0;                          ///< a step
  double tokens = 0;                                 ///< a step, packed, on average
  double packs = 0;                                  ///< a step, on average
};

/// Over the steps of the first epoch and an evaluation of what is held out, packed as a run on one device packs them.
/// Throws InputError as require_steps_of_one_pack() does where the config asks for such steps.
StepShape step_shape(const Split& data, const model::LlamaConfig& model, const config::RunConfig& config, bool cpu);

/// Where no data is at hand: packs filled to train.tokens_per_pack, every token of them a label row.
StepShape full_packs(const config::RunConfig& config, bool cpu);

/// Bytes on one device, at the moment when the most is held.
struct MemoryPlan {
  std::int64_t weights = 0;  ///< what is computed with, adapters too
  std::int64_t gradients = 0;
  std::int64_t optimizer = 0;  ///< AdamW's two moments, and float32 masters where weights are narrower
  std::int64_t passing = 0;    ///< sharded: units made whole on their way through
  bool evaluating = false;     ///< an evaluation holds more than a step: the next two are its
  std::int64_t activations = 0;
  std::int64_t logits = 0;
  std::int64_t kernels = 0;  ///< compiled for products on the CPU
  std::int64_t host = 0;     ///< in the host's memory, beside all others: what optimizer.place and
                             ///< train.layer_inputs keep there
  std::int64_t heap = 0;     ///< what the allocator holds beside them: room between blocks that fit no later one

  /// Of these, what lasts from step to step.
  std::int64_t lasting() const noexcept { return weights + gradients + optimizer; }
  std::int64_t total() const noexcept {
    return weights + gradients + optimizer + passing + activations + logits + kernels + heap;
  }
};

/// How the model lies over devices; sharded, over parallel.shard_size of them, but not more than there are.
struct Sharing {
  std::int64_t devices = 1;
  ParallelMode mode = ParallelMode::replicated;
  bool cpu = true;
  std::int64_t host = std::numeric_limits<std::int64_t>::max();  ///< bytes of the machine's own memory
};

/// Throws InputError for fewer than one device or more than a million, for sizes beyond counting, and for what training
/// refuses: a shard_size that does not divide the devices, or one without sharding (groups.h), and several devices
/// where the state is on the host (state_on_host()) or updates go by layer (updates_by_layer()).
MemoryPlan plan_memory(const model::LlamaConfig& model, const config::RunConfig& config, const StepShape& shape,
                       const Sharing& sharing);

/// The largest train.tokens_per_pack whose plan stays within `bytes`, if there is one: a multiple of 256.
std::optional<std::int64_t> largest_pack_within(const model::LlamaConfig& model, const config::RunConfig& config,
                                                const Sharing& sharing, std::int64_t bytes);

}  // namespace rrhf::train
