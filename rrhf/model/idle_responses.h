// Leaves out of the backward pass what no gradient flows through.
//
// A response whose coefficient is 0 (ordered right against every other and not the best, or pulled up as often as down)
// adds nothing to any gradient: it is seen by no other row of its pack, and its own loss does not depend on it. With k
// responses that holds for a good share of them, more as training goes on. The gradient stays the same to the last bit
// but for the order of sums.
#pragma once

#include <span>
#include <vector>

#include "rrhf/model/llama.h"
#include "rrhf/model/pack.h"

namespace rrhf::model {

/// A pack without its idle responses, and without queries of which none is left.
struct ActivePart {
  Pack pack;
  std::vector<double> coefficients;  ///< of its responses, none 0

  bool empty() const noexcept { return coefficients.empty(); }
};

/// `inputs` are those `pack` was made from, `coefficients` one a response. Cuts `saved` down to the rows that are left,
/// in place, so that Llama::backward() can go on with the part.
ActivePart drop_idle_responses(std::span<const PackInput> inputs, const Pack& pack,
                               std::span<const double> coefficients, Activations& saved);

}  // namespace rrhf::model
