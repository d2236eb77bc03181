// What LoRA trains (Hu et al. 2021): adapters beside the weights, which stay as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "rrhf/core/choices.h"

namespace rrhf {

/// The adapters of a run: beside a matrix W [out, in] a product of two narrow ones, B [out, rank] and A [rank, in], so
/// that the layer computes with W + alpha / rank * B A.
struct LoraOptions {
  std::optional<std::int64_t> rank;  ///< none: no adapters, all weights are trained
  double alpha = 16;
  std::vector<Projection> modules{Projection::q_proj,    Projection::k_proj,  Projection::v_proj,   Projection::o_proj,
                                  Projection::gate_proj, Projection::up_proj, Projection::down_proj};

  bool operator==(const LoraOptions&) const = default;
};

}  // namespace rrhf
