// Lists of tensor names and shapes in messages.
#pragma once

#include <c10/util/ArrayRef.h>

#include <string>
#include <vector>

namespace rrhf::checkpoint {

/// "a, b, c": up to ten names, then "and N more".
std::string name_list(const std::vector<std::string>& names);

/// "[11008, 4096]".
std::string shape_text(at::IntArrayRef shape);

}  // namespace rrhf::checkpoint
