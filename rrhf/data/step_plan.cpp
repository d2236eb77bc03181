#include "rrhf/data/step_plan.h"

#include <algorithm>
#include <limits>

#include "rrhf/core/error.h"

namespace rrhf::data {

StepPlan::StepPlan(StepPlanOptions options, EpochOrder order) : options_(options), make_order_(std::move(order)) {
  epoch_length_ = std::ssize(this->order(0));
  if (epoch_length_ == 0) throw_error("data", "there is no query to train on");
  if (epoch_length_ < options_.queries_per_step) options_.epoch_end = EpochEnd::step;
  // A step is never more than an epoch, so that no sum of steps overflows.
  options_.queries_per_step = std::min(options_.queries_per_step, epoch_length_);
  const bool carry = options_.epoch_end == EpochEnd::carry;
  const std::int64_t per_epoch = carry ? epoch_length_ / options_.queries_per_step : steps_of_an_epoch();
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  steps_ = options_.epochs > most / per_epoch ? most : options_.epochs * per_epoch;
  if (options_.max_steps) steps_ = std::min(steps_, *options_.max_steps);
}

std::int64_t StepPlan::steps_of_an_epoch() const {
  return (epoch_length_ + options_.queries_per_step - 1) / options_.queries_per_step;
}

const std::vector<std::int64_t>& StepPlan::order(std::int64_t epoch) {
  for (const auto& [known, order] : orders_) {
    if (known == epoch) return order;
  }
  if (orders_.size() == 2) orders_.erase(orders_.begin());
  return orders_.emplace_back(epoch, make_order_(epoch)).second;
}

std::vector<std::int64_t> StepPlan::queries(std::int64_t k) {
  const std::int64_t size = options_.queries_per_step;
  std::vector<std::int64_t> result;
  if (options_.epoch_end == EpochEnd::step) {
    const std::int64_t per_epoch = steps_of_an_epoch();
    const std::vector<std::int64_t>& order = this->order(k / per_epoch);
    const std::int64_t begin = k % per_epoch * size, end = std::min(epoch_length_, begin + size);
    result.assign(order.begin() + begin, order.begin() + end);
    return result;
  }
  for (std::int64_t at = k * size; at < (k + 1) * size; ++at) {
    result.push_back(order(at / epoch_length_)[static_cast<std::size_t>(at % epoch_length_)]);
  }
  return result;
}

double StepPlan::epochs_after(std::int64_t k) const {
  const std::int64_t size = options_.queries_per_step;
  if (options_.epoch_end == EpochEnd::carry)
    return static_cast<double>((k + 1) * size) / static_cast<double>(epoch_length_);
  const std::int64_t per_epoch = steps_of_an_epoch();
  const std::int64_t within = std::min(epoch_length_, (k % per_epoch + 1) * size);
  return static_cast<double>(k / per_epoch) + static_cast<double>(within) / static_cast<double>(epoch_length_);
}

std::vector<std::int64_t> padded_to_multiple(std::vector<std::int64_t> order, std::int64_t multiple) {
  const std::size_t count = order.size();
  for (std::size_t i = 0; count > 0 && order.size() % static_cast<std::size_t>(multiple) != 0; ++i) {
    order.push_back(order[i % count]);
  }
  return order;
}

}  // namespace rrhf::data
