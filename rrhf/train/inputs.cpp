#include "rrhf/train/inputs.h"

#include <algorithm>
#include <cmath>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/random.h"

namespace rrhf::train {
namespace {

// Of the random streams drawn from train.seed; 2 is step_order.cpp's, 3 trainer.cpp's.
constexpr std::uint64_t split_stream = 1;

}  // namespace

void require_positions(const config::RunConfig& config, const model::LlamaConfig& model) {
  if (config.data.max_length <= model::context_length(model)) return;
  throw_input("config", "data.max_length {} is beyond the model's {} positions ({}: max_position_embeddings)",
              config.data.max_length, model::context_length(model),
              (std::filesystem::path(config.model.path) / "config.json").string());
}

void require_model_path(const config::RunConfig& config) {
  if (!config.model.path.empty()) return;
  throw_input("config", "model.path is not set: name a model folder (--set model.path=DIR)");
}

ModelFolder open_model_folder(const config::RunConfig& config) {
  require_model_path(config);
  const std::filesystem::path path = config.model.path;
  model::LlamaConfig llama = checkpoint::load_config(path);
  ModelFolder folder{path, text::Tokenizer::load(path), std::move(llama)};
  require_positions(config, folder.config);
  if (folder.tokenizer.size() > folder.config.vocab_size) {
    throw_input(
        "model",
        "{}: the tokenizer has {} ids, the model {} rows (vocab_size): the embeddings must be resized first, or "
        "the tokenizer is another model's",
        path.string(), folder.tokenizer.size(), folder.config.vocab_size);
  }
  return folder;
}

data::EncodeOptions encode_options(const config::RunConfig& config) {
  return {.encoding = config.data.encoding,
          .bos_token = config.data.bos_token,
          .special_tokens = config.data.special_tokens,
          .max_length = config.data.max_length,
          .responses = config.data.responses,
          .stop_response = config.data.stop_response};
}

void warn_of_other_encoding(const ModelFolder& folder, const config::RunConfig& config) {
  const auto note = checkpoint::load_encoding_note(folder.path);
  if (!note) return;
  if (note->encoding != config.data.encoding) {
    warn("{} was trained with the {} encoding, {} is used here (data.encoding)", folder.path.string(),
         name_of(note->encoding), name_of(config.data.encoding));
  } else if (note->bos_token != config.data.bos_token) {
    warn("{} was trained with data.bos_token {}, {} is used here", folder.path.string(), name_of(note->bos_token),
         name_of(config.data.bos_token));
  }
}

std::vector<bool> held_out_rows(std::int64_t count, double eval_fraction, std::int64_t seed) {
  std::vector<bool> chosen(static_cast<std::size_t>(count));
  if (eval_fraction == 0) return chosen;
  const auto held_out = std::max<std::int64_t>(1, std::llround(eval_fraction * static_cast<double>(count)));
  if (held_out >= count)
    throw_input("config", "data.eval_fraction {} leaves none of {} rows to train on", eval_fraction, count);
  const auto order = permutation(count, RandomStream(static_cast<std::uint64_t>(seed), {split_stream}));
  for (std::int64_t i = 0; i < held_out; ++i)
    chosen[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = true;
  return chosen;
}

std::shared_ptr<const TokenizedFiles> tokenize_files(const std::vector<std::string>& files, const ModelFolder& folder,
                                                     const config::RunConfig& config) {
  return tokenize_files(files, folder.path, folder.tokenizer, config);
}

Split split_train_data(const ModelFolder& folder, const config::RunConfig& config) {
  const auto files = tokenize_files(config.data.train, folder, config);
  const std::vector<bool> held_out = held_out_rows(files->rows.size(), config.data.eval_fraction, config.train.seed);
  Split split;
  split.train.add(files, held_out, false);
  split.held_out.add(files, held_out, true);
  return split;
}

Split split_run_data(const ModelFolder& folder, const config::RunConfig& config) {
  Split split;
  InputErrors mistakes;  // of both, so that they can be mended at once
  try {
    split = split_train_data(folder, config);
  } catch (const InputError& of_training) {
    mistakes.add(of_training);
  }
  try {
    if (!config.data.eval.empty()) split.held_out.add(tokenize_files(config.data.eval, folder, config));
  } catch (const InputError& of_evaluation) {
    mistakes.add(of_evaluation);
  }
  mistakes.require_none();
  return split;
}

objective::ObjectiveOptions objective_options(const config::RunConfig& config) {
  return {.rank_loss = config.objective.rank_loss,
          .rank_weight = config.objective.rank_weight,
          .sft_weight = config.objective.sft_weight,
          .normalization = config.objective.normalization,
          .length_penalty = config.objective.length_penalty,
          .sft_reduction = config.objective.sft_reduction};
}

}  // namespace rrhf::train
