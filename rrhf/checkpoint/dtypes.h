// The floating dtypes of checkpoints, as safetensors spells them and as torch does.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace rrhf::checkpoint {

/// float32 for "F32", and so on; nothing for a word that is not F32, F16, BF16 or F64.
std::optional<at::ScalarType> float_dtype(std::string_view word);

/// "F32" for float32, and so on. Throws Error for a dtype that is not one of these four.
std::string_view dtype_word(at::ScalarType dtype);

}  // namespace rrhf::checkpoint
