#include "rrhf/train/step_order.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <numeric>
#include <utility>
#include <vector>

#include "rrhf/core/random.h"

namespace rrhf::train {
namespace {

// Of the random streams drawn from train.seed; 1 is inputs.cpp's, 3 trainer.cpp's.
constexpr std::uint64_t shuffle_stream = 2;
// The released runs sampled for eight devices.
constexpr std::int64_t released_ranks = 8;

std::vector<std::int64_t> torch_permutation(std::int64_t count, std::uint64_t seed) {
  const at::Tensor order =
      at::randperm(count, at::detail::createCPUGenerator(seed), at::TensorOptions().dtype(at::kLong));
  return {order.const_data_ptr<std::int64_t>(), order.const_data_ptr<std::int64_t>() + count};
}

}  // namespace

data::StepPlan plan_steps(const config::RunConfig& config, std::int64_t usable) {
  const data::StepPlanOptions options{.epochs = config.train.epochs,
                                      .max_steps = config.train.max_steps,
                                      .queries_per_step = config.train.queries_per_step,
                                      .epoch_end = config.train.epoch_end};
  const auto seed = static_cast<std::uint64_t>(config.train.seed);
  const bool released = config.train.order == RowOrder::released, shuffle = config.data.shuffle;
  return {options, [=](std::int64_t epoch) {
            const auto number = static_cast<std::uint64_t>(epoch);
            std::vector<std::int64_t> order(static_cast<std::size_t>(usable));
            std::iota(order.begin(), order.end(), 0);
            if (shuffle && !released) order = permutation(usable, RandomStream(seed, {shuffle_stream, number}));
            if (shuffle && released) order = torch_permutation(usable, seed + number);
            return released ? data::padded_to_multiple(std::move(order), released_ranks) : order;
          }};
}

}  // namespace rrhf::train
