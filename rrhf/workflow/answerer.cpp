#include "rrhf/workflow/answerer.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "rrhf/checkpoint/hf_folder.h"
#include "rrhf/config/decoding_settings.h"
#include "rrhf/core/error.h"
#include "rrhf/data/reader.h"
#include "rrhf/model/decoder.h"
#include "rrhf/train/device.h"
#include "rrhf/train/memory_advice.h"
#include "rrhf/train/trainer.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

// As data/encode.h encodes a prompt for training.
generate::Beginning beginning_of(const AnswerSettings& settings, const text::Tokenizer& tokenizer) {
  const auto note = checkpoint::load_encoding_note(settings.model);
  const bool released = note && note->encoding == Encoding::released;
  return {.bos = note && note->bos_token == BosToken::eos ? tokenizer.eos_id() : tokenizer.bos_id(),
          .bos_before_answer = released,
          .special = settings.special_tokens == SpecialText::plain ? text::SpecialHandling::plain
                     : released                                    ? text::SpecialHandling::parse_strip
                                                                   : text::SpecialHandling::parse};
}

AnswerSettings checked(AnswerSettings settings) {
  check_decoding(settings.decoding);
  if (settings.max_prompt_tokens && *settings.max_prompt_tokens < 2) {
    throw_input("usage", "--max-prompt-tokens {}: 2 or more are needed, the BOS and a token of the prompt",
                *settings.max_prompt_tokens);
  }
  return settings;
}

// Size and time of every file: they tell whether the folder still holds the model it held.
void add_files(const fs::path& folder, Json& identity) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files["model: " + entry.path().filename().string()] =
        fmt::format("{} bytes, time {}", entry.file_size(), entry.last_write_time().time_since_epoch().count());
  }
  for (const auto& [name, what] : files) identity[name] = what;
}

}  // namespace

std::vector<std::string> default_stops(std::string_view template_name) {
  if (template_name == "alpaca" || template_name == "alpaca-split") return {"</s>", "### Response:"};
  return {};
}

Answerer::Answerer(AnswerSettings settings)
    : settings_(checked(std::move(settings))),
      template_(text::PromptTemplate::named(settings_.template_name)),
      config_(checkpoint::load_config(settings_.model)),
      tokenizer_(text::Tokenizer::load(settings_.model)),
      beginning_(beginning_of(settings_, tokenizer_)),
      device_(train::choose_device(settings_.device)) {
  if (tokenizer_.size() > config_.vocab_size) {
    throw_input("generate", "{}: the tokenizer has {} ids, the model {} rows (vocab_size); it needs a row for each",
                settings_.model.string(), tokenizer_.size(), config_.vocab_size);
  }
}

std::int64_t Answerer::context_length() const { return model::context_length(config_); }

PromptIds Answerer::prompt_ids(std::string_view prompt) const {
  const std::optional<std::int64_t> most = settings_.max_prompt_tokens;
  std::vector<std::int32_t> whole = generate::prompt_ids(tokenizer_, beginning_, prompt);
  if (!most || std::ssize(whole) <= *most) return {.ids = std::move(whole)};
  return {.ids = generate::prompt_ids(tokenizer_, beginning_, prompt, most), .cut = true};
}

Prompts Answerer::prompts(std::span<const data::Query> queries) const {
  Prompts prompts;
  std::vector<data::Problem> problems;
  for (const data::Query& query : queries) {
    const auto add = [&](std::string what) {
      problems.push_back({data::Severity::error, query.where, std::move(what)});
    };
    if (template_.would_wrap_twice(query.text)) {
      add(
          fmt::format("the query already carries the Alpaca template and --template {} would wrap it again; take "
                      "--template none",
                      template_.name()));
      continue;
    }
    auto [ids, cut] = prompt_ids(template_.apply(query.text));
    prompts.cut += cut;
    const std::int64_t room = context_length() - std::ssize(ids) - (beginning_.bos_before_answer ? 1 : 0);
    if (room < 1) {
      add(
          fmt::format("the prompt's {} tokens leave no place for an answer in the model's {} positions "
                      "(--max-prompt-tokens N keeps the last N of a prompt)",
                      std::ssize(ids), context_length()));
    }
    prompts.short_of_room += room < settings_.decoding.max_new_tokens;
    prompts.requests.push_back({std::move(ids), static_cast<std::uint64_t>(query.where.row)});
  }
  data::require_no_errors(problems, "");
  return prompts;
}

void Answerer::load_weights() {
  llama_ = std::make_unique<model::Llama>(
      config_, checkpoint::load_weights(settings_.model, config_, model::scalar_type(settings_.dtype), device_));
}

generate::Generator Answerer::generator(const DecodingOptions& decoding) const {
  return {*llama_, tokenizer_, beginning_, decoding, {.sequences = settings_.sequences}};
}

std::string answering_advice(const AnswerSettings& settings, std::size_t prompts) {
  const model::LlamaConfig config = checkpoint::load_config(settings.model);
  const auto bytes_of = [](Dtype dtype) {
    return static_cast<std::int64_t>(c10::elementSize(model::scalar_type(dtype)));
  };
  const std::int64_t now = bytes_of(settings.dtype), narrow = bytes_of(Dtype::bfloat16);
  // Keys and values of a sequence's new tokens; its prompt's come to them.
  const std::int64_t elements =
      2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * settings.decoding.max_new_tokens;
  const std::int64_t width = sequences_of(settings.decoding);
  const std::int64_t at_once =
      std::max(width, std::min(settings.sequences, static_cast<std::int64_t>(prompts) * width));
  std::vector<train::Saving> savings;
  if (now > narrow) {
    savings.push_back({"--dtype bfloat16, in a config model.dtype=bfloat16",
                       (config.parameter_count() + at_once * elements) * (now - narrow), "and more"});
  }
  if (const std::int64_t half = at_once / 2; half >= width) {
    savings.push_back({fmt::format("--batch {0}, in a config sample.batch={0}", half),
                       (at_once - half) * elements * now, "and more"});
  }
  return savings.empty() ? "\n  fewer new tokens, fewer beams or a smaller model remain" : train::saving_lines(savings);
}

Json Answerer::identity() const {
  Json json = config::to_json(settings_.decoding);
  json["model"] = fs::absolute(settings_.model).lexically_normal().string();
  json["template"] = template_.apply("{query}");
  json["max-prompt-tokens"] = settings_.max_prompt_tokens ? Json(*settings_.max_prompt_tokens) : Json("all");
  json["dtype"] = name_of(settings_.dtype);
  add_files(settings_.model, json);
  return json;
}

}  // namespace rrhf::workflow
