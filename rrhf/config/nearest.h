// Help for a mistyped key.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rrhf/config/options.h"
#include "rrhf/core/nearest.h"

namespace rrhf::config {

/// "KEY is not a setting; nearest: OTHER. Settings of SECTION: ...". A name that is right in the wrong section finds
/// its setting, and so does a name used elsewhere for the same thing ("lr").
std::string unknown_setting(std::string_view key, const std::vector<Option>& options);

/// The same for the name of an object.
std::string unknown_section(std::string_view name);

}  // namespace rrhf::config
