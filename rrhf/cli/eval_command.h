#pragma once

namespace rrhf::cli {

/// rrhf eval [CONFIG.json] [--model DIR] [--data FILE] [--set ...] [--per-response OUT.jsonl] [--json OUT.json]
void eval_command(int argc, const char* const* argv);

}  // namespace rrhf::cli
