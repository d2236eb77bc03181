// What a run reads before the model's weights: data, tokenizer, template and the model's config, checked against one
// another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/data/encode.h"
#include "rrhf/data/reader.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/objective/objective.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::train {

/// A row that no token of some response is left of.
struct SkippedRow {
  std::int64_t index = 0;  ///< position in the dataset
  data::RowLocation where;
  std::string why;
};

/// A dataset as token ids. Const calls are safe from several threads.
struct EncodedSet {
  std::vector<data::EncodedQuery> queries;
  std::vector<SkippedRow> skipped;
  std::int64_t rows = 0;  ///< usable and skipped
  std::int64_t packed_tokens = 0;
  std::int64_t padded_tokens = 0;  ///< k times the longest prompt + response of each row

  std::int64_t size() const noexcept { return std::ssize(queries); }
  data::EncodedQuery query(std::int64_t i) const { return queries[static_cast<std::size_t>(i)]; }
  data::QuerySize size_of(std::int64_t i) const { return queries[static_cast<std::size_t>(i)].size(); }
  std::string group(std::int64_t i) const { return queries[static_cast<std::size_t>(i)].group; }
  double mean_responses() const;
};

/// A model folder without its weights.
struct ModelFolder {
  std::filesystem::path path;
  text::Tokenizer tokenizer;
  model::LlamaConfig config;
};

/// Positions a model was made for; dynamic rotary scaling stretches them.
std::int64_t longest_sequence(const model::LlamaConfig& config);

/// Throws InputError when model.path is not set, the folder lacks a part, data.max_length goes beyond the model's
/// positions, or the tokenizer has more ids than the model has rows.
ModelFolder open_model_folder(const config::RunConfig& config);

/// Warns where the model was trained with another encoding than the config's: scored otherwise its figures mean little.
void warn_of_other_encoding(const ModelFolder& folder, const config::RunConfig& config);

/// The data settings that decide how a row is encoded.
data::EncodeOptions encode_options(const config::RunConfig& config);
/// Throws InputError when data.max_length goes beyond the positions of the model in model.path.
void require_positions(const config::RunConfig& config, const model::LlamaConfig& model);

/// Reads the rows of the files; every problem with them is an InputError, warnings are logged with a count.
std::vector<data::RankedExample> read_rows(const std::vector<std::string>& files, const config::RunConfig& config);

/// Encodes rows. Logs how many are skipped; `what` names them there. Throws InputError when none is left.
EncodedSet encode_rows(const std::vector<data::RankedExample>& rows, const ModelFolder& folder,
                       const config::RunConfig& config, std::string_view what = "the data");

/// The rows kept for training and those held out by data.eval_fraction, chosen by the seed, each in file order.
struct Split {
  std::vector<data::RankedExample> train;
  std::vector<data::RankedExample> held_out;
};
Split split_rows(std::vector<data::RankedExample> rows, double eval_fraction, std::int64_t seed);

/// A hash over the token ids and rewards in order: tells whether a resumed run sees the data it began with.
std::string fingerprint(const EncodedSet& set);

objective::ObjectiveOptions objective_options(const config::RunConfig& config);

}  // namespace rrhf::train
