#include "rrhf/checkpoint/dtypes.h"

#include <array>
#include <utility>

#include "rrhf/core/error.h"

namespace rrhf::checkpoint {
namespace {

constexpr std::array dtypes{std::pair{"F32", at::kFloat}, std::pair{"F16", at::kHalf}, std::pair{"BF16", at::kBFloat16},
                            std::pair{"F64", at::kDouble}};

}  // namespace

std::optional<at::ScalarType> float_dtype(std::string_view word) {
  for (const auto& [name, dtype] : dtypes) {
    if (word == name) return dtype;
  }
  return std::nullopt;
}

std::string_view dtype_word(at::ScalarType dtype) {
  for (const auto& [name, known] : dtypes) {
    if (known == dtype) return name;
  }
  throw_error("checkpoint", "tensors of type {} are not written", at::toString(dtype));
}

}  // namespace rrhf::checkpoint
