#include "rrhf/core/error.h"

namespace rrhf {

Error::Error(std::string_view operation, std::string_view message)
    : std::runtime_error(fmt::format("[{}] {}", operation, message)) {}

void InputErrors::add(const InputError& error) {
  if (said_.insert(error.what()).second) text_ += fmt::format("{}{}", any() ? "\n" : "", error.what());
}

void InputErrors::require_none() const {
  if (!any()) return;
  const std::size_t operation_end = text_.find("] ");
  throw InputError(std::string_view(text_).substr(1, operation_end - 1),
                   std::string_view(text_).substr(operation_end + 2));
}

}  // namespace rrhf
