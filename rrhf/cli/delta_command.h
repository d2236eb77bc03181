#pragma once

namespace rrhf::cli {

/// rrhf delta make  --base DIR --target DIR --out DIR [--dtype T] [--pad-row zero|mean] [--shard-size 5GB]
/// rrhf delta apply --base DIR --delta DIR --out DIR [--dtype T] [--pad-row zero|mean|base] [--expect-sum X]
///                  [--any-base] [--no-answer] [--shard-size 5GB]
void delta_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
