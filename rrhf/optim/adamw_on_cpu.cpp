#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "rrhf/optim/adamw_tensors.h"

namespace rrhf::optim {
namespace {

using Block = std::array<float, moment_block>;

// So many blocks a thread takes at a time.
constexpr std::int64_t grain = 64;

void read(Stored type, const void* from, std::int64_t begin, std::int64_t count, Block& to) {
  if (type == Stored::float32) {
    std::copy_n(static_cast<const float*>(from) + begin, count, to.begin());
  } else {
    std::transform(static_cast<const std::uint16_t*>(from) + begin,
                   static_cast<const std::uint16_t*>(from) + begin + count, to.begin(), from_bfloat16);
  }
}

// The block of elements from `begin` on.
class BlockUpdate {
 public:
  BlockUpdate(const AdamWRule& rule, const AdamWTensors& tensors, std::int64_t begin)
      : rule_(rule), t_(tensors), begin_(begin), count_(std::min(moment_block, tensors.count - begin)) {}

  void run() {
    read(t_.weight_type, t_.weights, begin_, count_, weights_);
    read(t_.gradient_type, t_.gradients, begin_, count_, gradients_);
    read_moments();
    for (std::size_t i = 0; i < size(); ++i) {
      AdamWMoments moments{first_[i], second_[i]};
      weights_[i] = adamw(rule_, weights_[i], gradients_[i], moments);
      first_[i] = moments.first;
      second_[i] = moments.second;
    }
    write();
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(count_); }

  void read_moments() {
    if (t_.moment_type != Stored::eight_bit) {
      read(t_.moment_type, t_.first, begin_, count_, first_);
      read(t_.moment_type, t_.second, begin_, count_, second_);
      return;
    }
    const float first_scale = t_.first_scales[begin_ / moment_block];
    const float second_scale = t_.second_scales[begin_ / moment_block];
    const auto *first = static_cast<const std::uint8_t*>(t_.first) + begin_,
               *second = static_cast<const std::uint8_t*>(t_.second) + begin_;
    for (std::size_t i = 0; i < size(); ++i) {
      first_[i] = from_first_code(first[i]) * first_scale;
      second_[i] = from_second_code(second[i]) * second_scale;
    }
  }

  static float scale_of(const Block& values, std::size_t size) {
    float most = 0;
    for (std::size_t i = 0; i < size; ++i) most = std::max(most, std::fabs(values[i]));
    return most < least_scale ? 0 : most;
  }

  void write() {
    float first_inverse = 0, second_inverse = 0;
    if (t_.moment_type == Stored::eight_bit) {
      const float first_scale = scale_of(first_, size()), second_scale = scale_of(second_, size());
      t_.first_scales[begin_ / moment_block] = first_scale;
      t_.second_scales[begin_ / moment_block] = second_scale;
      first_inverse = first_scale > 0 ? 1 / first_scale : 0;
      second_inverse = second_scale > 0 ? 1 / second_scale : 0;
    }
    const bool rolls = t_.weight_type == Stored::bfloat16 || t_.moment_type != Stored::float32;
    for (std::size_t i = 0; i < size(); ++i) {
      const std::int64_t at = begin_ + static_cast<std::int64_t>(i);
      const Dice dice(rolls ? random_bits(rule_.key, t_.first_element + at) : 0);
      if (t_.weight_type == Stored::float32) {
        static_cast<float*>(t_.weights)[at] = weights_[i];
      } else {
        static_cast<std::uint16_t*>(t_.weights)[at] = to_bfloat16(weights_[i], dice.weight);
      }
      switch (t_.moment_type) {
        case Stored::float32:
          static_cast<float*>(t_.first)[at] = first_[i];
          static_cast<float*>(t_.second)[at] = second_[i];
          break;
        case Stored::bfloat16:
          static_cast<std::uint16_t*>(t_.first)[at] = to_bfloat16(first_[i], dice.first);
          static_cast<std::uint16_t*>(t_.second)[at] = to_bfloat16(second_[i], dice.second);
          break;
        case Stored::eight_bit:
          static_cast<std::uint8_t*>(t_.first)[at] = to_first_code(first_[i] * first_inverse, dice.first);
          static_cast<std::uint8_t*>(t_.second)[at] = to_second_code(second_[i] * second_inverse, dice.second);
          break;
      }
    }
  }

  const AdamWRule& rule_;
  const AdamWTensors& t_;
  std::int64_t begin_, count_;
  Block weights_, gradients_, first_, second_;
};

}  // namespace

void adamw_on_cpu(const AdamWRule& rule, const AdamWTensors& tensors) {
  const std::int64_t blocks = (tensors.count + moment_block - 1) / moment_block;
  at::parallel_for(0, blocks, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t block = first; block < last; ++block) BlockUpdate(rule, tensors, block * moment_block).run();
  });
}

}  // namespace rrhf::optim
