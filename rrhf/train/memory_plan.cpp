#include "rrhf/train/memory_plan.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/data/packing.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/units.h"
#include "rrhf/model/weights.h"
#include "rrhf/train/pass.h"
#include "rrhf/train/trainer.h"

namespace rrhf::train {
namespace {

constexpr std::int64_t pack_granularity = 256;
// The share of activations and logits that glibc's heap was seen to hold on top: 0.13 to 0.20 (docs/performance.md,
// "Memory"); with every block mapped by itself there is none.
constexpr double heap_share = 0.15;

std::int64_t bytes_of(c10::ScalarType dtype) { return static_cast<std::int64_t>(c10::elementSize(dtype)); }

// Rows of a pack: the last token of a response is a label but no row.
model::PackSize rows_of(const data::QuerySize& query) {
  const std::int64_t response_rows = query.labels - query.responses;
  return {query.prompt + response_rows, 1 + response_rows};
}

// Parameters of each unit, which are gathered together when a model is sharded.
std::vector<std::int64_t> unit_sizes(const model::LlamaConfig& config) {
  const auto shapes = model::tensor_shapes(config);
  const model::Units units(config);
  std::vector<std::int64_t> sizes(units.count());
  for (std::size_t unit = 0; unit < units.count(); ++unit) {
    for (const std::size_t tensor : units.tensors(unit)) {
      sizes[unit] += std::accumulate(shapes[tensor].begin(), shapes[tensor].end(), std::int64_t{1}, std::multiplies());
    }
  }
  return sizes;
}

// Bytes of the rooms in which units are made whole on their way through a rank that keeps a part of each: two for
// weights, two for gradients (three with a tied head, whose gradient stays open), one for a part of a sum. All fit the
// largest unit (docs/distributed-memory.md).
std::int64_t passing_bytes(const model::LlamaConfig& config, std::int64_t narrow, std::int64_t wide,
                           std::int64_t parts) {
  const std::int64_t unit = std::ranges::max(unit_sizes(config));
  const std::int64_t gradients = config.tie_word_embeddings ? 3 : 2;
  return unit * (2 * narrow + gradients * wide) + unit * wide / parts;
}

}  // namespace

StepShape step_shape(const EncodedSet& set, const model::LlamaConfig& model, const config::RunConfig& config) {
  const std::int64_t budget = config.train.tokens_per_pack.value_or(automatic_tokens_per_pack);
  const c10::ScalarType dtype = model::scalar_type(config.model.dtype);
  data::StepPlan plan = plan_steps(config, set.size());
  const std::int64_t steps = std::max<std::int64_t>(1, plan.steps() / config.train.epochs);
  StepShape shape{.largest_pack = {}, .queries = std::min(config.train.queries_per_step, set.size())};
  std::int64_t most = -1;
  for (std::int64_t k = 0; k < std::min(steps, plan.steps()); ++k) {
    std::vector<std::int64_t> tokens;
    const std::vector<std::int64_t> members = plan.queries(k);
    for (const std::int64_t i : members) tokens.push_back(set.size_of(i).packed());
    for (const auto& items : data::pack_by_tokens(tokens, budget)) {
      model::PackSize pack;
      for (const std::size_t item : items) {
        const model::PackSize own = rows_of(set.size_of(members[item]));
        pack.tokens += own.tokens;
        pack.label_rows += own.label_rows;
      }
      shape.packs += 1;
      shape.tokens += static_cast<double>(pack.tokens);
      const std::int64_t bytes = model::training_memory(model, dtype, pack, config.train.recompute).total();
      if (bytes > most) shape.largest_pack = pack;
      most = std::max(most, bytes);
    }
  }
  const auto counted = static_cast<double>(std::min(steps, plan.steps()));
  shape.packs /= counted;
  shape.tokens /= counted;
  return shape;
}

StepShape full_packs(const config::RunConfig& config) {
  const std::int64_t tokens = config.train.tokens_per_pack.value_or(automatic_tokens_per_pack);
  return {.largest_pack = {tokens, tokens}, .queries = config.train.queries_per_step};
}

MemoryPlan plan_memory(const model::LlamaConfig& model, const config::RunConfig& config, model::PackSize pack,
                       const Sharing& sharing) {
  if (sharing.devices < 1) throw_input("usage", "{} devices can hold nothing", sharing.devices);
  const c10::ScalarType narrow = model::scalar_type(config.model.dtype), wide = model::accumulation_type(narrow);
  const bool sharded = sharing.mode == ParallelMode::sharded;
  const std::int64_t parameters = model.parameter_count();
  const std::int64_t devices = sharing.devices;
  const std::int64_t parts = sharded ? std::min(config.parallel.shard_size.value_or(devices), devices) : 1;
  const std::int64_t share = (parameters + parts - 1) / parts;
  const model::PassMemory pass = model::training_memory(model, narrow, pack, config.train.recompute);
  return {.weights = share * bytes_of(narrow),
          .gradients = share * bytes_of(wide),
          .optimizer = share * bytes_of(wide) * (narrow == wide ? 2 : 3),
          .passing = parts > 1 ? passing_bytes(model, bytes_of(narrow), bytes_of(wide), parts) : 0,
          .activations = pass.activations,
          .logits = pass.logits,
          .kernels = sharing.cpu ? model::kernel_memory(narrow, pack.tokens) : 0,
          .heap = static_cast<std::int64_t>(heap_share * static_cast<double>(pass.total()))};
}

std::optional<std::int64_t> largest_pack_within(const model::LlamaConfig& model, const config::RunConfig& config,
                                                const Sharing& sharing, std::int64_t bytes) {
  const auto fits = [&](std::int64_t packs) {
    const std::int64_t tokens = packs * pack_granularity;
    return plan_memory(model, config, {tokens, tokens}, sharing).total() <= bytes;
  };
  if (!fits(1)) return std::nullopt;
  // Up to what no machine would be given: a search by halves, as the plan grows with the pack.
  std::int64_t low = 1, high = std::int64_t{1} << 20;
  while (high - low > 1) {
    const std::int64_t middle = std::midpoint(low, high);
    (fits(middle) ? low : high) = middle;
  }
  return low * pack_granularity;
}

}  // namespace rrhf::train
