// Shapes in messages.
#pragma once

#include <c10/util/ArrayRef.h>

#include <string>

namespace rrhf::checkpoint {

/// "[11008, 4096]".
std::string shape_text(at::IntArrayRef shape);

}  // namespace rrhf::checkpoint
