#include "rrhf/checkpoint/name_list.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "rrhf/format/bytes.h"

namespace rrhf::checkpoint {

std::string name_list(const std::vector<std::string>& names) {
  const std::size_t listed = std::min<std::size_t>(names.size(), 10);
  std::string text;
  for (std::size_t i = 0; i < listed; ++i) text += (i == 0 ? "" : ", ") + format::shown(names[i]);
  return names.size() > listed ? text + fmt::format(" and {} more", names.size() - listed) : text;
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

}  // namespace rrhf::checkpoint
