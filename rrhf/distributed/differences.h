// Where two texts differ, line by line.
#pragma once

#include <string>
#include <string_view>

namespace rrhf::distributed {

/// Up to `most` of the lines in which `other` differs from `first`, each as "\n  its line   (rank 0: that line)". Texts
/// of one line come out on the same line, shortened. Lines are compared in order.
std::string differences(std::string_view first, std::string_view other, int most);

}  // namespace rrhf::distributed
