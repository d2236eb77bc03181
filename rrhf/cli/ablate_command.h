#pragma once

namespace rrhf::cli {

/// rrhf ablate GRID.json [--set key.path=value]... [--list] [--resume] [--jobs N] [--processes N] [--memory-cap SIZE]
void ablate_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
