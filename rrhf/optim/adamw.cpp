#include "rrhf/optim/adamw.h"

#include <ATen/ATen.h>

#include <utility>

#include "rrhf/core/error.h"

namespace rrhf::optim {
namespace {

bool is_narrow(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kBFloat16 || tensor.scalar_type() == at::kHalf;
}

}  // namespace

AdamW::AdamW(std::vector<at::Tensor> parameters, AdamWOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const at::Tensor& parameter : parameters_) {
    masters_.push_back(is_narrow(parameter) ? parameter.to(at::kFloat) : parameter);
    first_moments_.push_back(at::zeros_like(masters_.back()));
    second_moments_.push_back(at::zeros_like(masters_.back()));
  }
}

void AdamW::step(const std::vector<at::Tensor>& gradients, double learning_rate) {
  if (gradients.size() != parameters_.size()) {
    throw_error("adamw", "{} gradients for {} parameters", gradients.size(), parameters_.size());
  }
  ++steps_;
  const auto count_options = at::TensorOptions().dtype(at::kFloat).device(parameters_.front().device());
  const std::vector<at::Tensor> counts(parameters_.size(), at::full({}, static_cast<double>(steps_), count_options));
  at::_fused_adamw_(masters_, gradients, first_moments_, second_moments_, /*max_exp_avg_sqs=*/{}, counts, learning_rate,
                    options_.betas[0], options_.betas[1], options_.weight_decay, options_.epsilon, /*amsgrad=*/false,
                    /*maximize=*/false);
  round_masters();
}

void AdamW::round_masters() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].is_same(masters_[i])) parameters_[i].copy_(masters_[i]);
  }
}

}  // namespace rrhf::optim
