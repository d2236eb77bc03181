#pragma once

namespace rrhf::cli {

/// rrhf model init|info|convert|resize ...
void model_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
