#include "rrhf/train/memory_plan.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>
#include <utility>
#include <vector>

#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/data/packing.h"
#include "rrhf/model/ops.h"
#include "rrhf/model/tensor_set.h"
#include "rrhf/model/units.h"
#include "rrhf/model/weights.h"
#include "rrhf/optim/moment_codes.h"
#include "rrhf/train/groups.h"
#include "rrhf/train/layer_updates.h"
#include "rrhf/train/pass.h"
#include "rrhf/train/step_order.h"

namespace rrhf::train {
namespace {

constexpr std::int64_t pack_granularity = 256;
// The share of activations and logits that an allocator holds on top of them, and beside an arena (docs/performance.md,
// "Memory").
constexpr double heap_share(bool in_arena) { return in_arena ? 0.05 : 0.15; }

// Units whose gradients are on a GPU at once when the rest is on the host (host_gradients.h); with a tied head one
// more, which stays open.
constexpr std::int64_t rooms_for_gradients = 3;
// Inputs of layers that are on a GPU at once when they wait on the host (model/parked_inputs.h).
constexpr std::int64_t inputs_on_their_way = 2;

// More than any cluster has, few enough for products of 64 bits.
constexpr std::int64_t most_devices = 1 << 20;

// True for packs whose bytes might not fit 64 bits: an upper bound, in floating point.
bool is_beyond_counting(const model::LlamaConfig& model, const StepShape& shape) {
  constexpr double most = 0x1p60, widest_element = 8;
  const double tokens = static_cast<double>(
      std::max(shape.largest_pack.tokens, shape.largest_evaluated.value_or(model::PackSize{}).tokens));
  const double layer = 4.0 * static_cast<double>(model.hidden_size) + static_cast<double>(model.qkv_size()) +
                       static_cast<double>(model.attention_size()) +
                       3.0 * static_cast<double>(model.intermediate_size) +
                       static_cast<double>(model.num_attention_heads);
  const double layers = static_cast<double>(model.num_hidden_layers) + 2;
  return tokens * widest_element * (layers * layer + 2.0 * static_cast<double>(model.vocab_size)) > most;
}

std::int64_t bytes_of(c10::ScalarType dtype) { return static_cast<std::int64_t>(c10::elementSize(dtype)); }

// Rows of a pack: the last token of a response is a label but no row.
model::PackSize rows_of(const data::QuerySize& query) {
  const std::int64_t response_rows = query.labels - query.responses;
  return {query.prompt + response_rows, 1 + response_rows};
}

std::vector<model::PackSize> packs_of(const EncodedSet& set, const std::vector<std::int64_t>& queries,
                                      std::int64_t budget) {
  std::vector<std::int64_t> tokens;
  tokens.reserve(queries.size());
  for (const std::int64_t i : queries) tokens.push_back(set.size_of(i).packed());
  std::vector<model::PackSize> packs;
  for (const auto& items : data::pack_by_tokens(tokens, budget)) {
    model::PackSize& pack = packs.emplace_back();
    for (const std::size_t item : items) {
      const model::PackSize own = rows_of(set.size_of(queries[item]));
      pack.tokens += own.tokens;
      pack.label_rows += own.label_rows;
    }
  }
  return packs;
}

// The pack, of those added, that takes the most bytes.
class LargestPack {
 public:
  explicit LargestPack(std::function<std::int64_t(model::PackSize)> bytes) : bytes_(std::move(bytes)) {}

  void add(model::PackSize pack) {
    const std::int64_t bytes = bytes_(pack);
    if (bytes > most_) pack_ = pack;
    most_ = std::max(most_, bytes);
  }
  model::PackSize pack() const { return pack_; }

 private:
  std::function<std::int64_t(model::PackSize)> bytes_;
  model::PackSize pack_;
  std::int64_t most_ = -1;
};

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
// weights and, unless these are frozen, two for gradients (three with a tied head, whose gradient stays open), one for
// a part of a sum. All fit the largest unit (docs/distributed-memory.md).
std::int64_t passing_bytes(const model::LlamaConfig& config, std::int64_t narrow, std::int64_t wide, std::int64_t parts,
                           bool frozen) {
  const std::int64_t unit = std::ranges::max(unit_sizes(config));
  if (frozen) return unit * 2 * narrow;
  const std::int64_t gradients = config.tie_word_embeddings ? 3 : 2;
  return unit * (2 * narrow + gradients * wide) + unit * wide / parts;
}

// What LibTorch takes for so many bytes of page-locked memory: a power of two.
std::int64_t page_locked(std::int64_t bytes) {
  return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(bytes)));
}

// In the host's memory, where it keeps the state of a model on a GPU: gradients, a unit on its way to the GPU, and what
// the optimizer has.
std::int64_t state_bytes_on_host(const model::LlamaConfig& config, std::int64_t gradient, std::int64_t weight,
                                 std::int64_t optimizer) {
  const std::vector<std::int64_t> sizes = unit_sizes(config);
  std::int64_t sum = optimizer + page_locked(std::ranges::max(sizes) * weight);
  for (const std::int64_t size : sizes) sum += page_locked(size * gradient);
  return sum;
}

// Masters and moments of so many weights.
std::int64_t optimizer_bytes(const config::RunConfig& config, std::int64_t weights, c10::ScalarType narrow,
                             c10::ScalarType wide) {
  const bool masters = narrow != wide && config.optimizer.masters == Masters::float32;
  std::int64_t moment = weights * bytes_of(wide);
  if (config.optimizer.moments == Moments::bfloat16) moment = weights * 2;
  if (config.optimizer.moments == Moments::eight_bit) moment = weights + optim::scales_of(weights) * 4;
  return 2 * moment + (masters ? weights * bytes_of(wide) : 0);
}

// Weights of the adapters; none: all of the model's are trained.
std::optional<std::int64_t> adapter_parameters(const model::LlamaConfig& model, const config::RunConfig& config) {
  if (!config.lora.rank) return std::nullopt;
  return model.num_hidden_layers * model::LoraLayout(model, config.lora).parameters_of_layer();
}

// Beside what a pass of the model takes: a layer's x A^T and its gradient, of as many columns as any product has.
std::int64_t adapter_work(const config::RunConfig& config, const model::PackSize& pack, c10::ScalarType dtype) {
  constexpr std::int64_t most_projections = 3;  // of a product
  return config.lora.rank ? 2 * most_projections * *config.lora.rank * pack.tokens * bytes_of(dtype) : 0;
}

model::PassForm pass_form(const config::RunConfig& config, bool cpu) {
  return model::pass_form(config.train.recompute, cpu, config.lora.rank.has_value());
}

// Of a step, or of an evaluation (true) that takes more.
std::pair<model::PassMemory, bool> largest_pass(const model::LlamaConfig& model, const config::RunConfig& config,
                                                const StepShape& shape, bool cpu) {
  const c10::ScalarType dtype = model::scalar_type(config.model.dtype);
  model::PassMemory pass = model::training_memory(model, dtype, shape.largest_pack, pass_form(config, cpu));
  pass.activations += adapter_work(config, shape.largest_pack, dtype);
  if (!shape.largest_evaluated) return {pass, false};
  const model::PassMemory evaluation =
      model::evaluation_memory(model, dtype, *shape.largest_evaluated, model::head_budget(cpu));
  return evaluation.total() > pass.total() ? std::pair(evaluation, true) : std::pair(pass, false);
}

}  // namespace

StepShape step_shape(const Split& data, const model::LlamaConfig& model, const config::RunConfig& config, bool cpu) {
  const std::int64_t budget = pass_options(config, cpu).tokens_per_pack;
  const c10::ScalarType dtype = model::scalar_type(config.model.dtype);
  data::StepPlan plan = plan_steps(config, data.train.size());
  if (config.optimizer.update == Update::layer) require_steps_of_one_pack(data.train, plan, budget);
  const std::int64_t counted = std::min(std::max<std::int64_t>(1, plan.steps() / config.train.epochs), plan.steps());
  StepShape shape{.queries = std::min(config.train.queries_per_step, data.train.size())};
  LargestPack trained(
      [&](model::PackSize pack) { return model::training_memory(model, dtype, pack, pass_form(config, cpu)).total(); });
  for (std::int64_t k = 0; k < counted; ++k) {
    for (const model::PackSize& pack : packs_of(data.train, plan.queries(k), budget)) {
      shape.packs += 1 / static_cast<double>(counted);
      shape.tokens += static_cast<double>(pack.tokens) / static_cast<double>(counted);
      trained.add(pack);
    }
  }
  shape.largest_pack = trained.pack();
  if (data.held_out.size() > 0) {
    LargestPack evaluated([&](model::PackSize pack) {
      return model::evaluation_memory(model, dtype, pack, model::head_budget(cpu)).total();
    });
    std::vector<std::int64_t> all(static_cast<std::size_t>(data.held_out.size()));
    std::iota(all.begin(), all.end(), 0);
    for (const model::PackSize& pack : packs_of(data.held_out, all, budget)) evaluated.add(pack);
    shape.largest_evaluated = evaluated.pack();
  }
  return shape;
}

StepShape full_packs(const config::RunConfig& config, bool cpu) {
  const std::int64_t tokens = pass_options(config, cpu).tokens_per_pack;
  return {.largest_pack = {tokens, tokens}, .queries = config.train.queries_per_step};
}

MemoryPlan plan_memory(const model::LlamaConfig& model, const config::RunConfig& config, const StepShape& shape,
                       const Sharing& sharing) {
  if (sharing.devices < 1 || sharing.devices > most_devices) {
    throw_input("usage", "{} devices: a plan is for 1 to {}", sharing.devices, with_commas(most_devices));
  }
  if (is_beyond_counting(model, shape)) {
    throw_input("config", "packs of {} tokens of this model (train.tokens_per_pack) would take more than an exbibyte",
                with_commas(shape.largest_pack.tokens));
  }
  const c10::ScalarType narrow = model::scalar_type(config.model.dtype), wide = model::accumulation_type(narrow);
  const c10::ScalarType sums = narrow == wide ? wide : model::scalar_type(config.train.gradients);
  const std::int64_t parameters = model.parameter_count();
  const std::int64_t parts =
      ranks_of_a_copy({.mode = sharing.mode, .shard_size = config.parallel.shard_size}, sharing.devices);
  const std::int64_t share = (parameters + parts - 1) / parts;
  const std::optional<std::int64_t> adapters = adapter_parameters(model, config);
  const std::int64_t trained = adapters.value_or(share);
  auto [pass, evaluating] = largest_pass(model, config, shape, sharing.cpu);
  std::int64_t gradients = trained * bytes_of(sums), optimizer = optimizer_bytes(config, trained, narrow, wide);
  std::int64_t host = 0;
  if (state_on_host(config, sharing.cpu, sharing.devices)) {
    host = state_bytes_on_host(model, bytes_of(sums), bytes_of(narrow), optimizer);
    const std::int64_t rooms = rooms_for_gradients + (model.tie_word_embeddings ? 1 : 0);
    gradients = rooms * std::ranges::max(unit_sizes(model)) * bytes_of(sums);
    optimizer = 0;
  } else if (updates_by_layer(config, sharing.devices)) {
    gradients = open_units(model) * std::ranges::max(unit_sizes(model)) * bytes_of(sums);
  }
  if (config.train.layer_inputs == Place::host && !sharing.cpu && !evaluating) {
    const std::int64_t input = shape.largest_pack.tokens * model.hidden_size * bytes_of(narrow);
    host += model.num_hidden_layers * page_locked(input);
    pass.activations -= std::max<std::int64_t>(0, model.num_hidden_layers - inputs_on_their_way) * input;
  }
  const double heap = heap_share(sharing.cpu && !evaluating) * static_cast<double>(pass.total());
  return {
      .weights = (share + adapters.value_or(0)) * bytes_of(narrow),
      .gradients = gradients,
      .optimizer = optimizer,
      .passing = parts > 1 ? passing_bytes(model, bytes_of(narrow), bytes_of(sums), parts, adapters.has_value()) : 0,
      .evaluating = evaluating,
      .activations = pass.activations,
      .logits = pass.logits,
      .kernels = sharing.cpu ? model::kernel_memory(model, narrow, shape.largest_pack, model::head_budget(true)) : 0,
      .host = host,
      .heap = static_cast<std::int64_t>(heap)};
}

std::optional<std::int64_t> largest_pack_within(const model::LlamaConfig& model, const config::RunConfig& config,
                                                const Sharing& sharing, std::int64_t bytes) {
  const auto fits = [&](std::int64_t packs) {
    const std::int64_t tokens = packs * pack_granularity;
    const StepShape shape{.largest_pack = {tokens, tokens}};
    return !is_beyond_counting(model, shape) && plan_memory(model, config, shape, sharing).total() <= bytes;
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
