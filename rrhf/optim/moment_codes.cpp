#include "rrhf/optim/moment_codes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <span>
#include <vector>

namespace rrhf::optim {
namespace {

// In the middle: rounds to the nearest.
constexpr std::uint32_t even_dice = 1U << 19;

// What each of the 256 codes stands for.
at::Tensor shares(Moment moment) {
  std::vector<float> table;
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<std::uint8_t>(code);
    table.push_back(moment == Moment::first ? from_first_code(byte) : from_second_code(byte));
  }
  return at::tensor(table, at::kFloat);
}

}  // namespace

at::Tensor decode_moments(Moment moment, const at::Tensor& codes, const at::Tensor& scales) {
  const at::Tensor values = shares(moment).to(codes.device()).index_select(0, codes.to(at::kInt));
  return values.mul_(scales.repeat_interleave(moment_block).narrow(0, 0, codes.numel()));
}

void encode_moments(Moment moment, const at::Tensor& values, at::Tensor& codes, at::Tensor& scales) {
  const at::Tensor here = values.to(at::kCPU, at::kFloat).contiguous();
  const std::span<const float> from(here.const_data_ptr<float>(), static_cast<std::size_t>(here.numel()));
  at::Tensor new_codes = at::empty(codes.sizes(), at::kByte), new_scales = at::empty(scales.sizes(), at::kFloat);
  auto* to = new_codes.mutable_data_ptr<std::uint8_t>();
  for (std::size_t begin = 0, block = 0; begin < from.size(); begin += moment_block, ++block) {
    const auto own = from.subspan(begin, std::min<std::size_t>(moment_block, from.size() - begin));
    float most = 0;
    for (const float value : own) most = std::max(most, std::fabs(value));
    const float scale = most < least_scale ? 0 : most, inverse = scale > 0 ? 1 / scale : 0;
    new_scales.mutable_data_ptr<float>()[block] = scale;
    for (const float value : own) {
      *to++ = moment == Moment::first ? to_first_code(value * inverse, even_dice)
                                      : to_second_code(value * inverse, even_dice);
    }
  }
  codes.copy_(new_codes);
  scales.copy_(new_scales);
}

}  // namespace rrhf::optim
