#pragma once

namespace rrhf::cli {

/// rrhf iterate CONFIG.json|--preset NAME [--set key.path=value]... [--resume]
void iterate_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
