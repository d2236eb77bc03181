// Which fields of a config.json are known.
#pragma once

#include <string_view>

namespace rrhf::model {

/// True for a field that LlamaConfig holds or checks, and for one that is known to change nothing in training or
/// log-probs. Any other might change the result and must be refused.
bool is_known_config_field(std::string_view name);

}  // namespace rrhf::model
