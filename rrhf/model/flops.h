// The floating-point operations of the matrix products of a pack: what a step would take at the machine's matrix rate.
#pragma once

#include "rrhf/model/llama_config.h"
#include "rrhf/model/low_rank.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// Operations by part. A multiplication and an addition are two.
struct Flops {
  double linear = 0;     ///< 2 a weight of the layers a token
  double attention = 0;  ///< the two products, for the keys a row sees
  double head = 0;       ///< 2 a weight of the head a label row

  double total() const { return linear + attention + head; }
  Flops& operator+=(const Flops& other);
  Flops operator*(double factor) const { return {linear * factor, attention * factor, head * factor}; }
};

/// Those of a forward pass, with adapters where `lora` is given. Norms, activations and softmax are not counted.
Flops forward_flops(const Pack& pack, const LlamaConfig& config, const LoraLayout* lora = nullptr);

/// Those of a backward pass: twice as many, or, for weights that are frozen beside adapters, as many.
Flops backward_flops(const Pack& pack, const LlamaConfig& config, const LoraLayout* lora = nullptr);

/// What the head takes for a label row, in what the layers' weights take for a token.
double label_row_cost(const LlamaConfig& config);

}  // namespace rrhf::model
