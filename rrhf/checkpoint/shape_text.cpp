#include "rrhf/checkpoint/shape_text.h"

#include <fmt/ranges.h>

namespace rrhf::checkpoint {

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

}  // namespace rrhf::checkpoint
