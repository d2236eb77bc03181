#include "rrhf/core/error.h"

namespace rrhf {

Error::Error(std::string_view operation, std::string_view message)
    : std::runtime_error(fmt::format("[{}] {}", operation, message)) {}

}  // namespace rrhf
