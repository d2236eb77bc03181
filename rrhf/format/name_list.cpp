#include "rrhf/format/name_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "rrhf/format/bytes.h"

namespace rrhf::format {

std::string name_list(const std::vector<std::string>& names) {
  const std::size_t listed = std::min<std::size_t>(names.size(), 10);
  std::string text;
  for (std::size_t i = 0; i < listed; ++i) text += (i == 0 ? "" : ", ") + shown(names[i]);
  return names.size() > listed ? text + fmt::format(" and {} more", names.size() - listed) : text;
}

}  // namespace rrhf::format
