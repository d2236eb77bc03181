#include "rrhf/checkpoint/convert.h"

#include <algorithm>

#include "rrhf/checkpoint/rewriter.h"
#include "rrhf/core/error.h"
#include "rrhf/core/file.h"
#include "rrhf/core/staged_folder.h"
#include "rrhf/text/pad_token.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::checkpoint {
namespace fs = std::filesystem;
namespace {

void set_pad_token_id(const fs::path& generation_config, std::int64_t id) {
  if (!path_exists(generation_config)) return;
  Json json = parse_json(read_file(generation_config), "model", generation_config.string());
  json["pad_token_id"] = id;
  write_json(generation_config, json);
}

// The rows a folder's tokenizer needs; 0 without one.
std::int64_t rows_needed(const fs::path& folder) {
  return has_file(folder / "tokenizer.model") ? text::Tokenizer::load(folder).size() : 0;
}

// More would be a config.json that is refused, or bytes beyond what a file size can be.
void require_possible(std::int64_t rows, const model::LlamaConfig& config) {
  constexpr std::int64_t most_rows = std::int64_t{1} << 30, most_elements = std::int64_t{1} << 48;
  if (rows <= std::min(most_rows, most_elements / config.hidden_size)) return;
  throw_input("model", "{} rows of vocabulary are too many: a config.json takes up to {}, an embedding {} elements",
              rows, most_rows, most_elements);
}

}  // namespace

Converted convert_model(const ConvertModel& settings) {
  const Rewriter rewriter(settings.from);
  StagedFolder folder(settings.out);
  Converted result{.parameters = rewriter.config().parameter_count(), .files = {}};
  result.files = rewriter.write(
      folder.path(),
      {.what = "converting", .dtype = settings.dtype, .shard_bytes = settings.shard_bytes, .change = {}});
  rewriter.carried().write(folder.path());
  write_configs(folder.path(), rewriter.config(), settings.dtype.value_or(rewriter.dtype()));
  folder.publish();
  return result;
}

void resize_model(const ResizeModel& settings) {
  const Rewriter rewriter(settings.from);
  require_possible(settings.rows, rewriter.config());
  if (const std::int64_t needed = rows_needed(settings.from); settings.rows < needed) {
    throw_input("model", "{}: the tokenizer has {} ids, {} rows of vocabulary are too few", settings.from.string(),
                needed, settings.rows);
  }
  StagedFolder folder(settings.out);
  model::LlamaConfig config = rewriter.config();
  config.vocab_size = settings.rows;
  rewriter.write(folder.path(), {.what = "resizing",
                                 .rows = settings.rows,
                                 .fill = settings.fill,
                                 .shard_bytes = settings.shard_bytes,
                                 .change = {}});
  rewriter.carried().write(folder.path());
  if (settings.add_pad) {
    config.pad_token_id = text::add_pad_token(folder.path());
    set_pad_token_id(folder.path() / "generation_config.json", *config.pad_token_id);
  }
  write_configs(folder.path(), config, rewriter.dtype());
  folder.publish();
}

}  // namespace rrhf::checkpoint
