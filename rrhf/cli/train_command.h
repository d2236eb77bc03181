#pragma once

namespace rrhf::cli {

/// rrhf train CONFIG.json|--preset NAME [--set key.path=value]... [--resume] [--processes N]
void train_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
