#include "rrhf/train/inputs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <variant>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/core/error.h"
#include "rrhf/core/log.h"
#include "rrhf/core/random.h"

namespace rrhf::train {
namespace {

// Keys of the random streams drawn from train.seed.
constexpr std::uint64_t split_stream = 1;

// One line: a set may hold thousands of ties, and rrhf data validate lists them.
void log_warnings(const std::vector<data::Problem>& problems) {
  if (problems.empty()) return;
  const data::Problem& first = problems.front();
  if (problems.size() == 1) return warn("{}: {}", first.where.text(), first.message);
  warn("{} notes on the data, the first: {}: {} (rrhf data validate lists all)", with_commas(std::ssize(problems)),
       first.where.text(), first.message);
}

void log_skipped(const std::vector<SkippedRow>& skipped, std::string_view what) {
  if (skipped.empty()) return;
  const SkippedRow& first = skipped.front();
  warn("{} of {} skipped, the first: {}: {}",
       skipped.size() == 1 ? "1 row" : with_commas(std::ssize(skipped)) + " rows", what, first.where.text(), first.why);
}

// FNV-1a, 64 bits.
class Hash {
 public:
  void add(std::uint64_t value) {
    for (int byte = 0; byte < 8; ++byte) state_ = (state_ ^ ((value >> (8 * byte)) & 0xff)) * 0x100000001b3;
  }
  std::string text() const { return fmt::format("{:016x}", state_); }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace

double EncodedSet::mean_responses() const {
  std::size_t count = 0;
  for (const data::EncodedQuery& query : queries) count += query.responses.size();
  return queries.empty() ? 0 : static_cast<double>(count) / static_cast<double>(queries.size());
}

std::int64_t longest_sequence(const model::LlamaConfig& config) {
  const bool stretched = config.rope_scaling.kind == model::RopeScaling::Kind::dynamic;
  const double factor = stretched ? config.rope_scaling.factor : 1;
  return static_cast<std::int64_t>(static_cast<double>(config.max_position_embeddings) * factor);
}

void require_positions(const config::RunConfig& config, const model::LlamaConfig& model) {
  if (config.data.max_length <= longest_sequence(model)) return;
  throw_input("config", "data.max_length {} is beyond the model's {} positions ({}: max_position_embeddings)",
              config.data.max_length, longest_sequence(model),
              (std::filesystem::path(config.model.path) / "config.json").string());
}

ModelFolder open_model_folder(const config::RunConfig& config) {
  if (config.model.path.empty())
    throw_input("config", "model.path is not set: name a model folder (--set model.path=DIR)");
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
  if (note && note->encoding != config.data.encoding) {
    warn("{} was trained with the {} encoding, {} is used here (data.encoding)", folder.path.string(),
         name_of(note->encoding), name_of(config.data.encoding));
  }
}

std::vector<data::RankedExample> read_rows(const std::vector<std::string>& files, const config::RunConfig& config) {
  Progress progress;
  const std::vector<std::filesystem::path> paths(files.begin(), files.end());
  data::Dataset dataset = data::read_all(paths, config.data.format, [&](double share) {
    progress.update([&] { return fmt::format("reading data   {}", bar(share)); });
  });
  const auto prompt_template = text::PromptTemplate::named(config.data.template_name);
  for (const data::RankedExample& row : dataset.rows) {
    if (auto mistake = data::settings_mistake(row, prompt_template, config.data.responses)) {
      dataset.problems.push_back({data::Severity::error, row.where, std::move(*mistake)});
    }
  }
  data::require_usable(dataset, config.objective.rank_loss != "none", config.data.responses);
  log_warnings(dataset.problems);
  return std::move(dataset.rows);
}

EncodedSet encode_rows(const std::vector<data::RankedExample>& rows, const ModelFolder& folder,
                       const config::RunConfig& config, std::string_view what) {
  const auto prompt_template = text::PromptTemplate::named(config.data.template_name);
  const data::RowEncoder encoder(folder.tokenizer, prompt_template, encode_options(config));
  Progress progress;
  EncodedSet set;
  set.rows = std::ssize(rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto encoded = encoder.encode(rows[i], static_cast<std::int64_t>(i));
    if (auto* query = std::get_if<data::EncodedQuery>(&encoded)) {
      set.packed_tokens += query->packed_tokens();
      set.padded_tokens += query->padded_length * std::ssize(query->responses);
      set.queries.push_back(std::move(*query));
    } else {
      set.skipped.push_back({static_cast<std::int64_t>(i), rows[i].where, std::get<data::Skipped>(encoded).why});
    }
    progress.update([&] {
      return fmt::format("tokenizing     {}", bar(static_cast<double>(i + 1) / static_cast<double>(rows.size())));
    });
  }
  log_skipped(set.skipped, what);
  if (set.queries.empty()) {
    throw_input("data", "all {} rows are skipped: no token of a response fits data.max_length {}", rows.size(),
                config.data.max_length);
  }
  return set;
}

Split split_rows(std::vector<data::RankedExample> rows, double eval_fraction, std::int64_t seed) {
  if (eval_fraction == 0) return {std::move(rows), {}};
  const auto count = std::ssize(rows);
  const auto held_out = std::max<std::int64_t>(1, std::llround(eval_fraction * static_cast<double>(count)));
  if (held_out >= count)
    throw_input("config", "data.eval_fraction {} leaves none of {} rows to train on", eval_fraction, count);
  std::vector<bool> chosen(rows.size());
  const auto order = permutation(count, RandomStream(static_cast<std::uint64_t>(seed), {split_stream}));
  for (std::int64_t i = 0; i < held_out; ++i)
    chosen[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = true;
  Split split;
  for (std::size_t i = 0; i < rows.size(); ++i)
    (chosen[i] ? split.held_out : split.train).push_back(std::move(rows[i]));
  return split;
}

std::string fingerprint(const EncodedSet& set) {
  Hash hash;
  for (const data::EncodedQuery& query : set.queries) {
    hash.add(query.prompt.size());
    for (const std::int32_t id : query.prompt) hash.add(static_cast<std::uint64_t>(id));
    for (const auto& response : query.responses) {
      hash.add(response.size());
      for (const std::int32_t id : response) hash.add(static_cast<std::uint64_t>(id));
    }
    for (const double reward : query.rewards) hash.add(std::bit_cast<std::uint64_t>(reward));
  }
  return hash.text();
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
