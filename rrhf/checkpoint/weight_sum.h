// The sum of all weights of a model, as Stanford's weight_diff.py takes it to check a recovered Alpaca-7B.
//
// The script adds up float32: torch's sum of each tensor of the state dict, then these one after the other. A running
// sum near 50637 has steps of 0.004, so its last digits depend on the order of the tensors and come from rounding as
// much as from the weights. The state dict of its time (transformers 4.28) also held the rotary buffers, one a layer:
// for a 7B model they add 238.7. So the sum is taken in four ways, and each is an honest answer to "the sum".
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "rrhf/model/llama_config.h"

namespace rrhf::checkpoint {

class WeightSum {
 public:
  /// Takes note of a whole tensor, in any order.
  void add(const std::string& name, const at::Tensor& tensor);

  struct Result {
    double exact = 0;                ///< of the weights, in double
    double exact_with_rotary = 0;    ///< and of the rotary buffers
    double float32 = 0;              ///< as the script adds, over a state dict without rotary buffers
    double float32_with_rotary = 0;  ///< as the script added when it was written

    /// True when any of the four is within 1e-2 of `expected`, the script's tolerance.
    bool matches(double expected) const;
  };

  /// Over the tensors of the config, in the order of transformers 4.28's state dict. Throws Error when one is missing.
  Result result(const model::LlamaConfig& config) const;

 private:
  struct Sums {
    float float32 = 0;
    double exact = 0;
  };
  std::map<std::string, Sums, std::less<>> sums_;
};

}  // namespace rrhf::checkpoint
