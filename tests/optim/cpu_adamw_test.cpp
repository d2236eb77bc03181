// The loops of each instruction set against AdamW's arithmetic in double, rounded with the same dice.
#include "rrhf/optim/cpu_adamw.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "rrhf/optim/moment_codes.h"

namespace rrhf::optim {
namespace {

using Numbers = std::vector<double>;

struct Kinds {
  Stored weights, gradients, moments;
};

struct Outcome {
  Numbers weights, first, second;
};

at::ScalarType type_of(Stored kind) { return kind == Stored::float32 ? at::kFloat : at::kBFloat16; }

Numbers numbers_of(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kDouble);
  return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel()};
}

// One step of some elements.
class OneStep {
 public:
  OneStep(const Kinds& kinds, std::int64_t count) : kinds_(kinds), count_(count) {
    at::manual_seed(8);
    weights_ = at::randn({count}).to(type_of(kinds.weights));
    gradients_ = at::randn({count}).pow(3).to(type_of(kinds.gradients));
    first_ = at::randn({count}).mul_(0.1);
    second_ = at::rand({count}).pow(4);
    if (kinds.moments == Stored::eight_bit) {
      first_scales_ = encode(Moment::first, first_);
      second_scales_ = encode(Moment::second, second_);
    } else {
      first_ = first_.to(type_of(kinds.moments));
      second_ = second_.to(type_of(kinds.moments));
    }
  }

  // As the set's loops leave it; nothing on a machine without the set.
  std::optional<Outcome> by(InstructionSet set) const {
    OneStep own = *this;
    for (at::Tensor* tensor : {&own.weights_, &own.first_, &own.second_, &own.first_scales_, &own.second_scales_}) {
      if (tensor->defined()) *tensor = tensor->clone();
    }
    const AdamWTensors tensors = own.tensors();
    const cpu::UpdateBlocks update = cpu::update_blocks(tensors, set);
    if (update == nullptr) return std::nullopt;
    update(rule, tensors, 0, scales_of(count_));
    return own.numbers();
  }

  // In double, and rounded in the end as what is kept is.
  Outcome expected() const {
    Outcome all = numbers();
    const Numbers gradients = numbers_of(gradients_);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const double g = gradients[i] * rule.gradient_factor;
      double &first = all.first[i], &second = all.second[i];
      first += rule.first_share * (g - first);
      second = rule.second_keep * second + rule.second_share * g * g;
      const double step = first / (std::sqrt(second) * rule.root_scale + rule.epsilon);
      all.weights[i] = all.weights[i] * rule.keep - rule.rate * std::clamp<double>(step, -rule.most, rule.most);
    }
    for (std::size_t begin = 0; begin < gradients.size(); begin += moment_block) round_block(begin, all);
    return all;
  }

 private:
  static constexpr AdamWRule rule{.keep = 0.999F,
                                  .rate = 0.01F,
                                  .first_share = 0.1F,
                                  .second_keep = 0.99F,
                                  .second_share = 0.01F,
                                  .root_scale = 1.5F,
                                  .epsilon = 1e-8F,
                                  .gradient_factor = 0.5F,
                                  .most = 2,
                                  .key = 0x123456789abcdef0U};
  // The upper half of an element's number changes on the way.
  static constexpr std::int64_t first_element = (std::int64_t{3} << 32) - 300;

  static at::Tensor encode(Moment moment, at::Tensor& values) {
    at::Tensor codes = at::zeros(values.sizes(), at::kByte),
               scales = at::zeros({scales_of(values.numel())}, at::kFloat);
    encode_moments(moment, values, codes, scales);
    values = codes;
    return scales;
  }

  AdamWTensors tensors() const {
    const auto scales = [](const at::Tensor& tensor) {
      return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr;
    };
    return {.count = count_,
            .first_element = first_element,
            .weight_type = kinds_.weights,
            .gradient_type = kinds_.gradients,
            .moment_type = kinds_.moments,
            .weights = weights_.mutable_data_ptr(),
            .gradients = gradients_.const_data_ptr(),
            .first = first_.mutable_data_ptr(),
            .second = second_.mutable_data_ptr(),
            .first_scales = scales(first_scales_),
            .second_scales = scales(second_scales_)};
  }

  Outcome numbers() const {
    if (kinds_.moments != Stored::eight_bit) return {numbers_of(weights_), numbers_of(first_), numbers_of(second_)};
    return {numbers_of(weights_), numbers_of(decode_moments(Moment::first, first_, first_scales_)),
            numbers_of(decode_moments(Moment::second, second_, second_scales_))};
  }

  static double rounded(Stored kind, double value, std::uint32_t dice) {
    const auto narrow = static_cast<float>(value);
    return kind == Stored::float32 ? narrow : from_bfloat16(to_bfloat16(narrow, dice));
  }

  static float scale_of(const Numbers& values, std::size_t begin, std::size_t end) {
    double most = 0;
    for (std::size_t i = begin; i < end; ++i) most = std::max(most, std::fabs(values[i]));
    return static_cast<float>(most);
  }

  void round_block(std::size_t begin, Outcome& all) const {
    const std::size_t end = std::min(begin + moment_block, all.weights.size());
    const float first_scale = scale_of(all.first, begin, end), second_scale = scale_of(all.second, begin, end);
    for (std::size_t i = begin; i < end; ++i) {
      const Dice dice = dice_of(rule.key, first_element + static_cast<std::int64_t>(i));
      all.weights[i] = rounded(kinds_.weights, all.weights[i], dice.weight);
      if (kinds_.moments != Stored::eight_bit) {
        all.first[i] = rounded(kinds_.moments, all.first[i], dice.first);
        all.second[i] = rounded(kinds_.moments, all.second[i], dice.second);
        continue;
      }
      const auto first_share = static_cast<float>(all.first[i]) / first_scale;
      const auto second_share = static_cast<float>(all.second[i]) / second_scale;
      all.first[i] = from_first_code(to_first_code(first_share, dice.first)) * first_scale;
      all.second[i] = from_second_code(to_second_code(second_share, dice.second)) * second_scale;
    }
  }

  Kinds kinds_;
  std::int64_t count_;
  at::Tensor weights_, gradients_, first_, second_, first_scales_, second_scales_;
};

// How many numbers differ by more than float32 rounds a few sums.
int apart(const Numbers& got, const Numbers& expected) {
  double most = 0;
  for (const double number : expected) most = std::max(most, std::fabs(number));
  int count = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    // False for what is no number.
    count += std::fabs(got[i] - expected[i]) <= 1e-5 * std::fabs(expected[i]) + 1e-7 * most ? 0 : 1;
  }
  return count;
}

class CpuAdamW : public ::testing::TestWithParam<InstructionSet> {};

TEST_P(CpuAdamW, RoundsWhatTheRuleGives) {
  if (!is_present(GetParam())) GTEST_SKIP() << "this machine lacks the instruction set";
  for (const Stored weights : {Stored::float32, Stored::bfloat16}) {
    for (const Stored gradients : {Stored::float32, Stored::bfloat16}) {
      for (const Stored moments : {Stored::float32, Stored::bfloat16, Stored::eight_bit}) {
        for (const std::int64_t count : {1, 255, 256, 700, 4099}) {
          const OneStep step({weights, gradients, moments}, count);
          const Outcome got = *step.by(GetParam()), expected = step.expected();
          // A die may fall the other way where float32 lies next to an edge.
          const int few = static_cast<int>(count / 400);
          const std::string what = fmt::format("kinds {} {} {}, {} elements", static_cast<int>(weights),
                                               static_cast<int>(gradients), static_cast<int>(moments), count);
          EXPECT_LE(apart(got.weights, expected.weights), weights == Stored::float32 ? 0 : few) << what;
          EXPECT_LE(apart(got.first, expected.first), moments == Stored::float32 ? 0 : few) << what;
          EXPECT_LE(apart(got.second, expected.second), moments == Stored::float32 ? 0 : few) << what;
        }
      }
    }
  }
}

std::string set_name(const ::testing::TestParamInfo<InstructionSet>& info) {
  if (info.param == InstructionSet::baseline) return "baseline";
  return info.param == InstructionSet::avx2 ? "avx2" : "avx512";
}

INSTANTIATE_TEST_SUITE_P(Sets, CpuAdamW,
                         ::testing::Values(InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512),
                         set_name);

}  // namespace
}  // namespace rrhf::optim
