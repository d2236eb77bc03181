#include <algorithm>
#include <utility>

#include "rrhf/checkpoint/reward_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/reward/reward_model.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/train/device.h"
#include "rrhf/train/pass.h"
#include "rrhf/train/trainer.h"
#include "rrhf/workflow/scorer.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

reward::SequenceOptions sequence_options(const config::RunConfig& config, const model::LlamaConfig& llama) {
  const std::int64_t max_length = config.score.max_length.value_or(llama.max_position_embeddings);
  const bool by_length = llama.rope_scaling.kind == model::RopeScaling::Kind::dynamic;
  return {.joining = config.score.joining,
          .join = config.score.join,
          .eos = config.score.eos,
          .parse_special = config.data.special_tokens == SpecialText::parse,
          .max_length = max_length,
          .shared_until = by_length ? llama.max_position_embeddings : max_length};
}

text::Tokenizer load_tokenizer(const fs::path& folder, const model::LlamaConfig& llama) {
  text::Tokenizer tokenizer = text::Tokenizer::load(folder);
  if (tokenizer.size() > llama.vocab_size) {
    throw_input("reward", "{}: the tokenizer has {} ids, the model {} rows (vocab_size): it is another model's",
                folder.string(), tokenizer.size(), llama.vocab_size);
  }
  return tokenizer;
}

// Checked before the weights are read.
model::LlamaConfig checked_config(const fs::path& folder, const config::RunConfig& config) {
  model::LlamaConfig llama = checkpoint::load_reward_config(folder);
  const std::int64_t longest = model::context_length(llama);
  if (config.score.max_length.value_or(0) > longest) {
    throw_input("config", "score.max_length {} is beyond the reward model's {} positions", *config.score.max_length,
                longest);
  }
  return llama;
}

class RewardScorer final : public Scorer {
 public:
  RewardScorer(fs::path folder, const config::RunConfig& config)
      : folder_(std::move(folder)),
        config_(config),
        llama_config_(checked_config(folder_, config)),
        tokenizer_(load_tokenizer(folder_, llama_config_)),
        template_(text::PromptTemplate::named(config.score.template_name)),
        options_(sequence_options(config, llama_config_)),
        encoder_(tokenizer_, template_, options_),
        parts_(checkpoint::load_reward_model(folder_, llama_config_, model::scalar_type(config.model.dtype),
                                             train::choose_device(config.device))),
        model_(
            parts_.llama, parts_.head,
            config.train.tokens_per_pack.value_or(train::automatic_tokens_per_pack(parts_.llama.device().is_cpu()))) {}

  Json identity() const override {
    Json identity = {{"source", "reward-model"},
                     {"model", fs::absolute(folder_).string()},
                     {"prompt", template_.apply("{query}")},
                     {"joining", name_of(options_.joining)},
                     {"join", options_.join},
                     {"eos", options_.eos},
                     {"special_tokens", name_of(config_.data.special_tokens)},
                     {"max_length", options_.max_length},
                     {"dtype", name_of(config_.model.dtype)}};
    add_model_files(folder_, identity);
    return identity;
  }

  std::optional<std::vector<reward::RowScore>> score(std::span<const reward::Row> rows) override {
    std::vector<reward::RowSequences> sequences;
    for (const reward::Row& row : rows) {
      sequences.push_back(encoder_.encode(row));
      cut_ += sequences.back().cut;
    }
    std::vector<reward::RowScore> scores;
    for (std::vector<double>& rewards : model_.score(sequences)) scores.push_back({std::move(rewards), {}});
    return scores;
  }

  void report() const override {
    if (cut_ > 0) warn("{} sequences were cut on the left to {} tokens", with_commas(cut_), options_.max_length);
  }

 private:
  fs::path folder_;
  config::RunConfig config_;
  model::LlamaConfig llama_config_;
  text::Tokenizer tokenizer_;
  text::PromptTemplate template_;
  reward::SequenceOptions options_;
  reward::SequenceEncoder encoder_;
  checkpoint::RewardModelParts parts_;
  reward::RewardModel model_;
  std::int64_t cut_ = 0;
};

}  // namespace

std::unique_ptr<Scorer> make_reward_scorer(const fs::path& folder, const config::RunConfig& config) {
  return std::make_unique<RewardScorer>(folder, config);
}

void add_model_files(const fs::path& folder, Json& identity) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  for (const fs::path& file : files) {
    identity["file " + file.filename().string()] = {{"bytes", fs::file_size(file)},
                                                    {"time", fs::last_write_time(file).time_since_epoch().count()}};
  }
}

}  // namespace rrhf::workflow
