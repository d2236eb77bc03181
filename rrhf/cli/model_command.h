#pragma once

namespace rrhf::cli {

/// rrhf model init --config MODEL.json --tokenizer DIR --out DIR [--seed N] [--dtype T]
void model_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
