#include "rrhf/distributed/unit_layout.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace rrhf::distributed {
namespace {

// Whole cache lines for every dtype, so that a view is as fast as a tensor of its own.
constexpr std::int64_t alignment = 64;
// Parts are cut between blocks that share something: 8-bit moments their scale (optim/adamw_rules.h).
constexpr std::int64_t part_alignment = 256;

std::int64_t rounded_up(std::int64_t size, std::int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

std::int64_t numel(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

}  // namespace

UnitLayout::UnitLayout(std::vector<std::vector<std::int64_t>> shapes, int parts)
    : shapes_(std::move(shapes)), parts_(parts) {
  std::int64_t end = 0;
  for (const auto& shape : shapes_) {
    begins_.push_back(end);
    end = rounded_up(end + numel(shape), alignment);
  }
  part_size_ = rounded_up(end, part_alignment * parts) / parts;
}

std::vector<at::Tensor> UnitLayout::views(const at::Tensor& whole) const {
  std::vector<at::Tensor> views;
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    views.push_back(whole.narrow(0, begins_[i], numel(shapes_[i])).view(shapes_[i]));
  }
  return views;
}

std::vector<Piece> UnitLayout::pieces(int part) const {
  const std::int64_t part_begin = part * part_size_, part_end = part_begin + part_size_;
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < shapes_.size(); ++i) {
    const std::int64_t begin = std::max(begins_[i], part_begin);
    const std::int64_t end = std::min(begins_[i] + numel(shapes_[i]), part_end);
    if (begin < end) pieces.push_back({i, begin - begins_[i], begin - part_begin, end - begin});
  }
  return pieces;
}

}  // namespace rrhf::distributed
