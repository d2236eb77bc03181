// `rrhf generate`: answers to a prompt, a file of prompts, or a person at the terminal.
#pragma once

namespace rrhf::cli {

void generate_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
