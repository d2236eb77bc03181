// Lists of names from files in messages.
#pragma once

#include <string>
#include <vector>

namespace rrhf::format {

/// "a, b, c": up to ten names, each as shown() gives it, then "and N more".
std::string name_list(const std::vector<std::string>& names);

}  // namespace rrhf::format
