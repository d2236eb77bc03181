#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/objective/objective.h"
#include "rrhf/train/device.h"
#include "rrhf/train/evaluate.h"
#include "rrhf/workflow/scorer.h"

namespace rrhf::workflow {
namespace {

// Scores need no ranking loss, and every response is to have one.
config::RunConfig for_scoring(config::RunConfig config) {
  config.objective.rank_loss = "none";
  config.data.responses = ResponseChoice::all;
  return config;
}

data::RankedExample as_example(const reward::Row& row) {
  return {.query = row.query,
          .responses = row.responses,
          .scores = std::vector<double>(row.responses.size()),
          .writers = {},
          .group = {},
          .where = row.where};
}

class LogprobScorer final : public Scorer {
 public:
  explicit LogprobScorer(const config::RunConfig& config)
      : config_(for_scoring(config)),
        folder_(train::open_model_folder(config_)),
        template_(text::PromptTemplate::named(config_.data.template_name)),
        encoder_(folder_.tokenizer, template_, train::encode_options(config_)),
        llama_(train::load_llama(config_, folder_, train::choose_device(config_.device))),
        objective_(train::objective_options(config_)),
        pass_(llama_, objective_, world_, train::pass_options(config_, llama_.device().is_cpu())) {
    train::warn_of_other_encoding(folder_, config_);
  }

  Json identity() const override {
    const config::DataConfig& data = config_.data;
    Json identity = {{"source", "model"},
                     {"model", std::filesystem::absolute(folder_.path).string()},
                     {"prompt", template_.apply("{query}")},
                     {"encoding", name_of(data.encoding)},
                     {"bos_token", name_of(data.bos_token)},
                     {"special_tokens", name_of(data.special_tokens)},
                     {"max_length", data.max_length},
                     {"stop_response", data.stop_response},
                     {"normalization", name_of(config_.objective.normalization)},
                     {"length_penalty", config_.objective.length_penalty},
                     {"random_init", config_.model.random_init},
                     {"dtype", name_of(config_.model.dtype)}};
    add_model_files(folder_.path, identity);
    return identity;
  }

  std::optional<std::vector<reward::RowScore>> score(std::span<const reward::Row> rows) override {
    std::vector<reward::RowScore> scores(rows.size());
    train::EncodedSet set;
    set.add(train::tokenized_in_memory(folder_.tokenizer.size(), [&](data::TokenWriter& writer) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const auto encoded = encoder_.encode(as_example(rows[i]), static_cast<std::int64_t>(i));
        if (const auto* query = std::get_if<data::EncodedQuery>(&encoded)) {
          writer.add(*query);
        } else {
          const auto& skipped = std::get<data::Skipped>(encoded);
          writer.add(skipped, rows[i].where);
          scores[i].skipped = skipped.why;
        }
      }
    }));
    const auto take = [&](const auto& query, const auto& loss, auto) {
      scores[static_cast<std::size_t>(query.index)].scores = loss.scores_K;
    };
    if (!pass_.evaluate(set, take, [](double) {})) return std::nullopt;
    return scores;
  }

 private:
  config::RunConfig config_;
  train::ModelFolder folder_;
  text::PromptTemplate template_;
  data::RowEncoder encoder_;
  model::Llama llama_;
  objective::Objective objective_;
  distributed::World world_;  // one process
  train::Pass pass_;
};

}  // namespace

std::unique_ptr<Scorer> make_logprob_scorer(const config::RunConfig& config) {
  return std::make_unique<LogprobScorer>(config);
}

}  // namespace rrhf::workflow
