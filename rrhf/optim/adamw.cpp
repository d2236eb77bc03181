#include "rrhf/optim/adamw.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/random.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/optim/adamw_tensors.h"
#include "rrhf/optim/cuda_stream.h"
#include "rrhf/optim/moment_codes.h"
#include "rrhf/optim/narrow.h"

namespace rrhf::optim {
namespace {

Stored stored_as(const at::Tensor& tensor) {
  if (tensor.scalar_type() == at::kByte) return Stored::eight_bit;
  return tensor.scalar_type() == at::kBFloat16 ? Stored::bfloat16 : Stored::float32;
}

std::int64_t bytes_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

// The largest |first moment| / root of the second after so many steps, whatever the gradients (Cauchy and Schwarz):
// (1 - beta1) / sqrt(1 - beta2) times the root of the sum of (beta1^2 / beta2)^i, i < steps.
double largest_ratio(double beta1, double beta2, double steps) {
  if (beta2 == 0) return HUGE_VAL;
  const double r = beta1 * beta1 / beta2;
  const double sum = r == 1 ? steps : (1 - std::pow(r, steps)) / (1 - r);
  return (1 - beta1) / std::sqrt(1 - beta2) * std::sqrt(sum);
}

}  // namespace

AdamW::AdamW(std::vector<at::Tensor> parameters, AdamWOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  for (const at::Tensor& parameter : parameters_) {
    const bool without = options_.masters == Masters::none;
    if (without && parameter.scalar_type() != at::kBFloat16) {
      throw_error("adamw", "only bfloat16 parameters go without masters; these are {}",
                  at::toString(parameter.scalar_type()));
    }
    if (options_.moments != Moments::float32 && parameter.scalar_type() == at::kDouble) {
      throw_error("adamw", "moments of float64 parameters are float64");
    }
    const auto like = options_.on_host ? parameter.options().device(at::kCPU) : parameter.options();
    masters_.push_back(parameter.to(is_narrow(parameter) && !without ? like.dtype(at::kFloat) : like));
    const at::IntArrayRef sizes = parameter.sizes();
    if (options_.moments == Moments::eight_bit) {
      const std::int64_t scales = scales_of(parameter.numel());
      moments_.push_back({at::zeros(sizes, like.dtype(at::kByte)), at::zeros(sizes, like.dtype(at::kByte)),
                          at::zeros({scales}, like.dtype(at::kFloat)), at::zeros({scales}, like.dtype(at::kFloat))});
    } else {
      const auto type = options_.moments == Moments::bfloat16 ? at::kBFloat16 : wide_type();
      moments_.push_back({at::zeros(sizes, like.dtype(type)), at::zeros(sizes, like.dtype(type)), {}, {}});
    }
  }
}

at::ScalarType AdamW::wide_type() const {
  return parameters_.front().scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// What ATen's own fused update takes.
bool AdamW::is_plain(const at::Tensor& gradient) const {
  return options_.moments == Moments::float32 && gradient.scalar_type() == masters_.front().scalar_type() &&
         !is_narrow(masters_.front());
}

void AdamW::step(std::vector<at::Tensor>& gradients, double learning_rate, double gradient_factor) {
  if (gradients.size() != parameters_.size()) {
    throw_error("adamw", "{} gradients for {} parameters", gradients.size(), parameters_.size());
  }
  begin_step();
  for (std::size_t i = 0; i < gradients.size(); ++i) update(i, gradients[i], learning_rate, gradient_factor);
}

void AdamW::update(std::size_t i, at::Tensor& gradient, double learning_rate, double gradient_factor) {
  if (masters_[i].numel() == 0) return;
  if (is_plain(gradient)) {
    update_plainly(i, gradient, learning_rate, gradient_factor);
  } else {
    update_narrow(i, gradient, rule(learning_rate, gradient_factor));
  }
  round_master(i);
}

void AdamW::update_plainly(std::size_t i, at::Tensor& gradient, double learning_rate, double gradient_factor) {
  if (gradient_factor != 1) gradient.mul_(gradient_factor);
  const auto count_options = at::TensorOptions().dtype(at::kFloat).device(masters_[i].device());
  at::_fused_adamw_(masters_[i], gradient, moments_[i].first, moments_[i].second, /*max_exp_avg_sqs=*/{},
                    at::full({}, static_cast<double>(steps_), count_options), learning_rate, options_.betas[0],
                    options_.betas[1], options_.weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
}

AdamWRule AdamW::rule(double learning_rate, double gradient_factor) const {
  const auto [beta1, beta2] = options_.betas;
  const auto steps = static_cast<double>(steps_);
  const double first_share = 1 - beta1, second_share = 1 - beta2;
  const double first_correction = 1 - std::pow(beta1, steps), second_correction = 1 - std::pow(beta2, steps);
  return {.keep = static_cast<float>(1 - learning_rate * options_.weight_decay),
          .rate = static_cast<float>(learning_rate / first_correction),
          .first_share = static_cast<float>(first_share),
          .second_keep = static_cast<float>(beta2),
          .second_share = static_cast<float>(second_share),
          .root_scale = static_cast<float>(1 / std::sqrt(second_correction)),
          .epsilon = static_cast<float>(options_.epsilon),
          .gradient_factor = static_cast<float>(gradient_factor),
          .most = static_cast<float>(options_.moments == Moments::eight_bit
                                         ? largest_ratio(beta1, beta2, steps) * std::sqrt(second_correction)
                                         : HUGE_VAL)};
}

void AdamW::update_narrow(std::size_t i, const at::Tensor& gradient, AdamWRule rule) {
  const at::Tensor& master = masters_[i];
  Kept& kept = moments_[i];
  rule.key = RandomStream(options_.seed, {static_cast<std::uint64_t>(steps_), i}).next();
  const AdamWTensors tensors{
      .count = master.numel(),
      .first_element = master.numel() * options_.rank,
      .weight_type = stored_as(master),
      .gradient_type = stored_as(gradient),
      .moment_type = stored_as(kept.first),
      .weights = master.mutable_data_ptr(),
      .gradients = gradient.const_data_ptr(),
      .first = kept.first.mutable_data_ptr(),
      .second = kept.second.mutable_data_ptr(),
      .first_scales = kept.first_scales.defined() ? kept.first_scales.mutable_data_ptr<float>() : nullptr,
      .second_scales = kept.second_scales.defined() ? kept.second_scales.mutable_data_ptr<float>() : nullptr};
  if constexpr (with_cuda) {
    if (master.is_cuda()) return cuda::adamw(rule, tensors, cuda::current_stream(master.device()));
  }
  adamw_on_cpu(rule, tensors);
}

// The master in the parameter's dtype, in page-locked memory.
at::Tensor AdamW::staged(const at::Tensor& master, at::ScalarType type) {
  if (!staging_.defined()) {
    std::int64_t most = 0;
    for (const at::Tensor& each : masters_) most = std::max(most, each.numel());
    staging_ = at::empty({most}, at::TensorOptions().dtype(type).pinned_memory(true));
  }
  return staging_.narrow(0, 0, master.numel()).view(master.sizes()).copy_(master);
}

void AdamW::round_masters() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) round_master(i);
}

void AdamW::round_master(std::size_t i) {
  at::Tensor& parameter = parameters_[i];
  const at::Tensor& master = masters_[i];
  if (parameter.is_same(master)) return;
  const bool to_gpu = parameter.is_cuda() && master.is_cpu();
  parameter.copy_(to_gpu ? staged(master, parameter.scalar_type()) : master);
}

at::Tensor AdamW::first_moment(std::size_t i) const {
  const Kept& kept = moments_[i];
  if (kept.first_scales.defined()) return decode_moments(Moment::first, kept.first, kept.first_scales);
  return kept.first.to(wide_type());
}

at::Tensor AdamW::second_moment(std::size_t i) const {
  const Kept& kept = moments_[i];
  if (kept.second_scales.defined()) return decode_moments(Moment::second, kept.second, kept.second_scales);
  return kept.second.to(wide_type());
}

void AdamW::set_moments(std::size_t i, const at::Tensor& first, const at::Tensor& second) {
  Kept& kept = moments_[i];
  if (kept.first_scales.defined()) {
    encode_moments(Moment::first, first, kept.first, kept.first_scales);
    encode_moments(Moment::second, second, kept.second, kept.second_scales);
  } else {
    if (!kept.first.is_same(first)) kept.first.copy_(first);
    if (!kept.second.is_same(second)) kept.second.copy_(second);
  }
}

std::int64_t AdamW::bytes() const {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].is_same(masters_[i])) sum += bytes_of(masters_[i]);
    for (const at::Tensor* tensor :
         {&moments_[i].first, &moments_[i].second, &moments_[i].first_scales, &moments_[i].second_scales}) {
      sum += bytes_of(*tensor);
    }
  }
  return sum;
}

}  // namespace rrhf::optim
