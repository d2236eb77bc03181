// AdamW with narrow weights and moments.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "rrhf/core/error.h"
#include "rrhf/core/with_cuda.h"
#include "rrhf/optim/adamw.h"
#include "rrhf/optim/moment_codes.h"

namespace rrhf::optim {
namespace {

const auto floats = at::TensorOptions().dtype(at::kFloat);

std::vector<at::Device> devices() {
  std::vector<at::Device> all{at::kCPU};
  if (with_cuda && at::hasCUDA()) all.emplace_back(at::kCUDA);
  return all;
}

TEST(RandomRounding, IsRightOnAverageAndKeepsWhatIsExact) {
  // 1 + 1/512 lies a quarter of the way from 1 to the next bfloat16, 1 + 1/128.
  int up = 0;
  for (std::int64_t i = 0; i < 40000; ++i) {
    const std::uint16_t got = to_bfloat16(1 + 1.0F / 512, dice_of(7, i).weight);
    ASSERT_TRUE(got == 0x3f80 || got == 0x3f81);
    up += got == 0x3f81;
  }
  EXPECT_NEAR(up / 40000.0, 0.25, 4 * std::sqrt(0.25 * 0.75 / 40000));
  for (const float exact : {0.0F, -0.0F, 1.0F, -3.5F, 0x1p-130F, INFINITY}) {
    EXPECT_EQ(from_bfloat16(to_bfloat16(exact, 0xfffff)), exact);
  }
  EXPECT_TRUE(std::isnan(from_bfloat16(to_bfloat16(NAN, 0xfffff))));
}

TEST(MomentCodes, CoverTheirRangeInOrder) {
  EXPECT_EQ(from_first_code(0), 0);
  EXPECT_EQ(from_first_code(1), 0x1p-15F);
  EXPECT_EQ(from_first_code(121), 1);
  EXPECT_EQ(from_first_code(0x80 | 121), -1);
  EXPECT_EQ(from_second_code(0), 0);
  EXPECT_EQ(from_second_code(1), 0x1p-31F);
  EXPECT_EQ(from_second_code(249), 1);
  for (std::uint8_t code = 1; code < 121; ++code) EXPECT_LT(from_first_code(code), from_first_code(code + 1));
  for (std::uint8_t code = 0; code < 249; ++code) EXPECT_LT(from_second_code(code), from_second_code(code + 1));
}

TEST(MomentCodes, AreRightOnAverage) {
  for (const float share : {0.7F, -0.3F, 0.01F, 3e-5F, -1e-6F}) {
    double first = 0, second = 0;
    constexpr int rolls = 200000;
    for (std::int64_t i = 0; i < rolls; ++i) {
      const Dice dice = dice_of(3, i);
      first += from_first_code(to_first_code(share, dice.first));
      second += from_second_code(to_second_code(std::fabs(share), dice.second));
    }
    // A step is an eighth, and below 2^-15 all of 2^-15.
    const double step = std::max<double>(std::fabs(share) / 8, std::fabs(share) < 0x1p-15 ? 0x1p-15 : 0);
    EXPECT_NEAR(first / rolls, share, 4 * 0.5 * step / std::sqrt(rolls)) << share;
    EXPECT_NEAR(second / rolls, std::fabs(share), 4 * 0.5 * std::fabs(share) / 8 / std::sqrt(rolls)) << share;
  }
  EXPECT_GT(from_second_code(to_second_code(1e-20F, 0)), 0) << "what is divided by does not become 0";
}

TEST(MomentCodes, DecodedAndEncodedAgainAreTheSame) {
  at::manual_seed(1);
  const at::Tensor values = at::randn({1000}).pow(3);
  at::Tensor codes = at::zeros({1000}, at::kByte), scales = at::zeros({scales_of(1000)}, floats);
  for (const Moment moment : {Moment::first, Moment::second}) {
    const at::Tensor own = moment == Moment::first ? values : values.square();
    encode_moments(moment, own, codes, scales);
    const at::Tensor decoded = decode_moments(moment, codes, scales);
    // Half a step of an eighth, or half of the least share of the block's largest.
    const at::Tensor most = at::max_pool1d(own.abs().unsqueeze(0), 1000).squeeze(0);
    EXPECT_TRUE(((decoded - own).abs() <= at::maximum(own.abs() / 16, most * 0x1p-16)).all().item<bool>());
    at::Tensor again = at::zeros_like(codes), again_scales = at::zeros_like(scales);
    encode_moments(moment, decoded, again, again_scales);
    EXPECT_TRUE(again.equal(codes));
    EXPECT_TRUE(again_scales.equal(scales));
  }
}

struct Forms {
  at::ScalarType weights;
  Masters masters;
  Moments moments;
  at::ScalarType gradients;
};

// A valley in many dimensions, steps toward its lowest point from the same place.
class Descent {
 public:
  Descent(const Forms& forms, at::Device device) : forms_(forms), device_(device) {
    at::manual_seed(4);
    goal_ = at::randn({700});
    slope_ = at::rand({700}).add_(0.1);
    weights_ = at::zeros({700}, at::TensorOptions().dtype(forms.weights).device(device));
    optimizer_ = std::make_unique<AdamW>(
        std::vector{weights_},
        AdamWOptions{.betas = {0.9, 0.99}, .masters = forms.masters, .moments = forms.moments, .seed = 9});
  }

  void step(double learning_rate, double factor = 1) {
    const at::Tensor gradient = (weights_.to(at::kCPU, at::kFloat) - goal_) * slope_ / factor;
    std::vector<at::Tensor> gradients{gradient.to(device_, forms_.gradients)};
    optimizer_->step(gradients, learning_rate, factor);
  }

  double distance() const { return (weights_.to(at::kCPU, at::kFloat) - goal_).square().mean().sqrt().item<double>(); }
  const at::Tensor& weights() const { return weights_; }
  AdamW& optimizer() { return *optimizer_; }

 private:
  Forms forms_;
  at::Device device_;
  at::Tensor goal_, slope_, weights_;
  std::unique_ptr<AdamW> optimizer_;
};

const std::vector<Forms> all_forms{{at::kFloat, Masters::float32, Moments::bfloat16, at::kFloat},
                                   {at::kFloat, Masters::float32, Moments::eight_bit, at::kFloat},
                                   {at::kBFloat16, Masters::float32, Moments::float32, at::kBFloat16},
                                   {at::kBFloat16, Masters::float32, Moments::eight_bit, at::kBFloat16},
                                   {at::kBFloat16, Masters::none, Moments::float32, at::kFloat},
                                   {at::kBFloat16, Masters::none, Moments::bfloat16, at::kBFloat16},
                                   {at::kBFloat16, Masters::none, Moments::eight_bit, at::kBFloat16}};

TEST(NarrowAdamW, GoesWhereTheWideOneGoes) {
  Descent wide({at::kFloat, Masters::float32, Moments::float32, at::kFloat}, at::kCPU);
  for (int i = 0; i < 300; ++i) wide.step(0.05 * (1 - i / 300.0));
  ASSERT_LT(wide.distance(), 0.05);
  for (std::size_t i = 0; i < all_forms.size(); ++i) {
    Descent narrow(all_forms[i], at::kCPU);
    for (int step = 0; step < 300; ++step) narrow.step(0.05 * (1 - step / 300.0), step % 2 == 0 ? 1 : 0.25);
    EXPECT_LT(narrow.distance(), 0.1) << i;
    const double apart = (narrow.weights().to(at::kFloat) - wide.weights()).square().mean().sqrt().item<double>();
    EXPECT_LT(apart, 0.1) << i;
  }
}

TEST(NarrowAdamW, SmallStepsAreNotLost) {
  // A step of 2^-12 is far below the last place of a bfloat16 of 1 (2^-8): rounded to the nearest it would stay.
  at::Tensor weight = at::ones({4096}, at::TensorOptions().dtype(at::kBFloat16));
  AdamW optimizer({weight}, {.betas = {0, 0}, .epsilon = 0, .masters = Masters::none});
  for (int step = 0; step < 64; ++step) {
    std::vector<at::Tensor> gradients{at::ones({4096}, floats)};
    optimizer.step(gradients, 0x1p-12);
  }
  EXPECT_NEAR(weight.to(at::kFloat).mean().item<double>(), 1 - 64 * 0x1p-12, 4 * 0.03 / 64);
}

TEST(NarrowAdamW, TheSameSeedGivesTheSameBitsAndParts) {
  for (const Forms& forms : all_forms) {
    Descent first(forms, at::kCPU), second(forms, at::kCPU);
    for (int i = 0; i < 3; ++i) {
      first.step(0.01);
      second.step(0.01);
    }
    EXPECT_TRUE(first.weights().equal(second.weights()));
    // Saved and restored moments go on alike.
    second.optimizer().set_moments(0, first.optimizer().first_moment(0), first.optimizer().second_moment(0));
    first.step(0.01);
    second.step(0.01);
    EXPECT_TRUE(first.weights().equal(second.weights()));
  }
}

TEST(NarrowAdamW, TwoRanksHalvesAreTheWhole) {
  // Blocks of 256: halves of 512 hold the same ones as the whole.
  at::manual_seed(8);
  const at::Tensor gradient = at::randn({512});
  const AdamWOptions options{.masters = Masters::none, .moments = Moments::eight_bit, .seed = 2};
  for (const at::Device device : devices()) {
    const auto narrow = at::TensorOptions().dtype(at::kBFloat16).device(device);
    at::Tensor whole = at::ones({512}, narrow);
    AdamW all({whole}, options);
    std::vector<at::Tensor> gradients{gradient.to(device)};
    all.step(gradients, 0.01);
    for (int rank = 0; rank < 2; ++rank) {
      at::Tensor half = at::ones({256}, narrow);
      AdamWOptions own = options;
      own.rank = rank;
      AdamW part({half}, own);
      std::vector<at::Tensor> own_gradients{gradient.narrow(0, rank * 256, 256).clone().to(device)};
      part.step(own_gradients, 0.01);
      EXPECT_TRUE(half.equal(whole.narrow(0, rank * 256, 256))) << device << " rank " << rank;
    }
  }
}

TEST(NarrowAdamW, RareGradientsMoveWeightsAsFarAsExactMomentsDo) {
  // Nothing for long, then the same gradient ten times: m / sqrt(v) comes to 0.651 / sqrt(0.00996) = 6.5.
  at::Tensor wide = at::zeros({256}), narrow = at::zeros({256});
  AdamW exact({wide}, {}), coded({narrow}, {.moments = Moments::eight_bit, .seed = 3});
  const auto step_both = [&](const at::Tensor& gradient) {
    for (AdamW* optimizer : {&exact, &coded}) {
      std::vector<at::Tensor> gradients{gradient.clone()};
      optimizer->step(gradients, 1e-3);
    }
  };
  for (int i = 0; i < 1500; ++i) step_both(at::zeros({256}));
  const at::Tensor signs = at::arange(256).remainder(2).mul(2).sub(1).to(at::kFloat);  // both ways
  for (int i = 0; i < 10; ++i) step_both(signs);
  ASSERT_GT(wide.abs().mean().item<double>(), 0.04);
  EXPECT_NEAR((narrow * signs).mean().item<double>() / (wide * signs).mean().item<double>(), 1, 0.03);
  EXPECT_NEAR(narrow.abs().max().item<double>() / wide.abs().max().item<double>(), 1, 0.1);
}

TEST(NarrowAdamW, RefusesFormsThatDoNotExist) {
  EXPECT_THROW(AdamW({at::ones({2}, floats)}, {.masters = Masters::none}), Error);
  EXPECT_THROW(AdamW({at::ones({2}, at::kDouble)}, {.moments = Moments::bfloat16}), Error);
}

TEST(NarrowAdamW, OnAGpuAsOnTheCpu) {
  if (!with_cuda || !at::hasCUDA()) GTEST_SKIP() << "no GPU, or a build without CUDA: its kernel is not run";
  for (std::size_t i = 0; i < all_forms.size(); ++i) {
    Descent here(all_forms[i], at::kCPU), there(all_forms[i], at::kCUDA);
    here.step(0.01, 0.5);
    there.step(0.01, 0.5);
    // The compilers may fuse a product and a sum: a last place that the dice then take another way, now and then.
    const at::Tensor apart = (here.weights().to(at::kFloat) - there.weights().to(at::kCPU, at::kFloat)).abs();
    EXPECT_LE((apart > 1e-6).to(at::kFloat).mean().item<double>(), 0.01) << i;
    const auto share_apart = [](const at::Tensor& a, const at::Tensor& b) {
      return ((a - b.cpu()).abs() > 1e-5 * a.abs()).to(at::kFloat).mean().item<double>();
    };
    EXPECT_LE(share_apart(here.optimizer().first_moment(0), there.optimizer().first_moment(0)), 0.01) << i;
    EXPECT_LE(share_apart(here.optimizer().second_moment(0), there.optimizer().second_moment(0)), 0.01) << i;
    for (int step = 0; step < 300; ++step) there.step(0.05 * (1 - step / 300.0));
    EXPECT_LT(there.distance(), 0.1) << i;
    const at::Tensor first = there.optimizer().first_moment(0);
    there.optimizer().set_moments(0, first, there.optimizer().second_moment(0));
    EXPECT_TRUE(there.optimizer().first_moment(0).equal(first)) << i;
  }
}

}  // namespace
}  // namespace rrhf::optim
