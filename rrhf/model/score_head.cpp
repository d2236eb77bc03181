#include "rrhf/model/score_head.h"

#include <ATen/ATen.h>

#include "rrhf/core/error.h"
#include "rrhf/model/ops.h"

namespace rrhf::model {

ScoreHead::ScoreHead(at::Tensor weight_1D) {
  if (weight_1D.dim() != 2 || weight_1D.size(0) != 1) throw_error("model", "a score head is one row of weights");
  weight_D1_ = weight_1D.t().to(accumulation_type(weight_1D.scalar_type())).contiguous();
}

std::vector<double> ScoreHead::read(const at::Tensor& states_RD) const {
  const at::Tensor scores_R = states_RD.to(weight_D1_.scalar_type()).matmul(weight_D1_).squeeze(1);
  const at::Tensor on_cpu = scores_R.to(at::kCPU, at::kDouble).contiguous();
  const auto* begin = on_cpu.const_data_ptr<double>();
  return {begin, begin + on_cpu.numel()};
}

}  // namespace rrhf::model
