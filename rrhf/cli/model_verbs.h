// The verbs of `rrhf model`, one file each. argv[0] is the verb. Each throws InputError for wrong arguments and
// folders.
#pragma once

namespace rrhf::cli {

/// rrhf model init --config MODEL.json --tokenizer DIR --out DIR [--seed N] [--dtype T]
void model_init(int argc, const char* const* argv);

/// rrhf model info DIR [--hashes]
void model_info(int argc, const char* const* argv);

/// rrhf model convert DIR --out DIR [--dtype keep|T] [--shard-size 5GB]
void model_convert(int argc, const char* const* argv);

/// rrhf model merge ADAPTER --out DIR [--base DIR] [--dtype keep|T] [--shard-size 5GB]
void model_merge(int argc, const char* const* argv);

/// rrhf model resize DIR --vocab N|--add-pad [--fill mean|zero] --out DIR
void model_resize(int argc, const char* const* argv);

/// rrhf model plan CONFIG.json [--devices N] [--sharding replicated|sharded] [--memory SIZE]
void model_plan(int argc, const char* const* argv);

}  // namespace rrhf::cli
