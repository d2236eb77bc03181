// `rrhf ablate`.
#pragma once

namespace rrhf::cli {

void ablate_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
