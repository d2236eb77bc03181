// rrhf score: rewards for responses.
#pragma once

namespace rrhf::cli {

void score_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
