// AdamW (Loshchilov and Hutter 2019) with the update rule and operation order of torch.optim.AdamW.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/optim/adamw_rules.h"

namespace rrhf::optim {

struct AdamWOptions {
  std::array<double, 2> betas{0.9, 0.999};
  double epsilon = 1e-8;
  double weight_decay = 0;  ///< decoupled; on every tensor, as the released run has it
  Masters masters = Masters::float32;
  Moments moments = Moments::float32;
  std::uint64_t seed = 0;  ///< of the random rounding, where there is any
  bool on_host = false;    ///< masters and moments in the host's memory, where gradients are given then
  int rank = 0;            ///< of those that hold a part of each parameter: rank r's begins at element r * its size
};

/// Updates parameters in place, which may lie on any device, and what it keeps there with them or on the host.
///
/// Where parameters are bfloat16 or float16 it keeps float32 masters, updates those and rounds them into the
/// parameters; with Masters::none it updates bfloat16 parameters as they are and rounds at random (adamw_rules.h).
/// Moments are kept as wide as the masters, or narrower and rounded at random. Parameters are shared tensors: they must
/// not be memory of a file mapped for reading.
class AdamW {
 public:
  /// Throws Error for forms that the parameters' dtype does not have: no masters for float16, narrow moments for
  /// float64.
  AdamW(std::vector<at::Tensor> parameters, AdamWOptions options);

  /// One update with gradients in the order of the parameters: float32 or bfloat16 where parameters are narrow, else of
  /// their dtype. Gradients count `gradient_factor` times; what they hold afterwards is nobody's business.
  /// Throws Error when the number of gradients differs.
  void step(std::vector<at::Tensor>& gradients, double learning_rate, double gradient_factor = 1);

  /// The same by parts: begin_step(), then each parameter once, in any order.
  void begin_step() noexcept { ++steps_; }
  void update(std::size_t i, at::Tensor& gradient, double learning_rate, double gradient_factor = 1);

  /// Rounds the masters into the parameters, after masters() were written to.
  void round_masters();

  /// Steps taken so far.
  std::int64_t steps() const noexcept { return steps_; }
  void set_steps(std::int64_t steps) noexcept { steps_ = steps; }

  /// The weights in full precision, in the order of the parameters. Shared with the optimizer: write into them to
  /// restore.
  const std::vector<at::Tensor>& masters() const noexcept { return masters_; }

  /// The moments of parameter i as set_moments() takes them back, exactly: a copy in float32 where they are narrow,
  /// else shared.
  at::Tensor first_moment(std::size_t i) const;
  at::Tensor second_moment(std::size_t i) const;
  void set_moments(std::size_t i, const at::Tensor& first, const at::Tensor& second);
  /// Of first_moment() and second_moment().
  at::ScalarType moment_type() const { return moments_.front().first.is_floating_point() ? wide_type() : at::kFloat; }

  /// Bytes of masters, unless they are the parameters, and moments.
  std::int64_t bytes() const;

 private:
  // A parameter's moments: numbers, or codes with a scale a block.
  struct Kept {
    at::Tensor first, second, first_scales, second_scales;
  };

  at::ScalarType wide_type() const;
  bool is_plain(const at::Tensor& gradient) const;
  AdamWRule rule(double learning_rate, double gradient_factor) const;
  void update_plainly(std::size_t i, at::Tensor& gradient, double learning_rate, double gradient_factor);
  void update_narrow(std::size_t i, const at::Tensor& gradient, AdamWRule rule);
  void round_master(std::size_t i);

  at::Tensor staged(const at::Tensor& master, at::ScalarType type);

  std::vector<at::Tensor> parameters_;
  at::Tensor staging_;               ///< page-locked, for what goes from the host to a GPU
  std::vector<at::Tensor> masters_;  ///< the parameters themselves where these are wide enough, or there are none
  std::vector<Kept> moments_;
  AdamWOptions options_;
  std::int64_t steps_ = 0;
};

}  // namespace rrhf::optim
