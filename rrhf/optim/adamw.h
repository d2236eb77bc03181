// AdamW (Loshchilov and Hutter 2019) with the update rule and operation order of torch.optim.AdamW.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

namespace rrhf::optim {

struct AdamWOptions {
  std::array<double, 2> betas{0.9, 0.999};
  double epsilon = 1e-8;
  double weight_decay = 0;  ///< decoupled; on every tensor, as the released run has it
};

/// Updates parameters in place. Keeps two moments a parameter, in the master's dtype; where parameters are bfloat16 or
/// float16 it also keeps float32 masters, updates those, and rounds them into the parameters.
/// Parameters are shared tensors: they must not be memory of a file mapped for reading.
class AdamW {
 public:
  AdamW(std::vector<at::Tensor> parameters, AdamWOptions options);

  /// One update with gradients in the order of the parameters (float32 where parameters are narrow).
  /// Throws Error when the number of gradients differs.
  void step(const std::vector<at::Tensor>& gradients, double learning_rate);

  /// Rounds the masters into the parameters, after masters() were written to.
  void round_masters();

  /// Steps taken so far.
  std::int64_t steps() const noexcept { return steps_; }

  /// The tensors a resumed run needs, in the order of the parameters. Shared with the optimizer: write into them to
  /// restore.
  const std::vector<at::Tensor>& masters() const noexcept { return masters_; }
  const std::vector<at::Tensor>& first_moments() const noexcept { return first_moments_; }
  const std::vector<at::Tensor>& second_moments() const noexcept { return second_moments_; }
  void set_steps(std::int64_t steps) noexcept { steps_ = steps; }

 private:
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> masters_;  ///< the parameters themselves where these are wide enough
  std::vector<at::Tensor> first_moments_;
  std::vector<at::Tensor> second_moments_;
  AdamWOptions options_;
  std::int64_t steps_ = 0;
};

}  // namespace rrhf::optim
