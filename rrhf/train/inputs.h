// What a run reads before the model's weights: data, tokenizer, template and the model's config, checked against one
// another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "rrhf/config/run_config.h"
#include "rrhf/data/encode.h"
#include "rrhf/model/llama_config.h"
#include "rrhf/objective/objective.h"
#include "rrhf/text/tokenizer.h"
#include "rrhf/train/encoded_set.h"

namespace rrhf::train {

/// A model folder without its weights.
struct ModelFolder {
  std::filesystem::path path;
  text::Tokenizer tokenizer;
  model::LlamaConfig config;
};

/// Throws InputError when model.path is not set.
void require_model_path(const config::RunConfig& config);
/// Throws InputError when model.path is not set, the folder lacks a part, data.max_length goes beyond the model's
/// positions, or the tokenizer has more ids than the model has rows.
ModelFolder open_model_folder(const config::RunConfig& config);

/// Warns where the model was trained with another encoding than the config's: scored otherwise its figures mean little.
void warn_of_other_encoding(const ModelFolder& folder, const config::RunConfig& config);

/// The data settings that decide how a row is encoded.
data::EncodeOptions encode_options(const config::RunConfig& config);
/// Throws InputError when data.max_length goes beyond the positions of the model in model.path.
void require_positions(const config::RunConfig& config, const model::LlamaConfig& model);

/// Which of `count` rows data.eval_fraction holds out: drawn by the seed, at least one, none where the fraction is 0.
/// Throws InputError where none would be left.
std::vector<bool> held_out_rows(std::int64_t count, double eval_fraction, std::int64_t seed);

/// The files as token ids (tokenized.h).
std::shared_ptr<const TokenizedFiles> tokenize_files(const std::vector<std::string>& files, const ModelFolder& folder,
                                                     const config::RunConfig& config);

/// data.train without the rows held out for evaluation, and these, each in file order.
struct Split {
  EncodedSet train;
  EncodedSet held_out;
};
Split split_train_data(const ModelFolder& folder, const config::RunConfig& config);

/// What a run trains on and what it evaluates: the split, and data.eval's rows with those held out.
Split split_run_data(const ModelFolder& folder, const config::RunConfig& config);

objective::ObjectiveOptions objective_options(const config::RunConfig& config);

}  // namespace rrhf::train
