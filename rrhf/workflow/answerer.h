// A model folder that answers queries: opened in two steps, so that everything wrong with settings, folder and queries
// is said before its weights are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"
#include "rrhf/data/queries.h"
#include "rrhf/generate/generator.h"
#include "rrhf/model/llama.h"
#include "rrhf/text/prompt_template.h"

namespace rrhf::workflow {

struct AnswerSettings {
  std::filesystem::path model;
  std::string template_name = "none";
  DecodingOptions decoding;  ///< its stop strings as they are: default_stops() where a user names none
  std::optional<std::int64_t> max_prompt_tokens;    ///< of longer prompts the last are kept, behind the BOS; none: all
  SpecialText special_tokens = SpecialText::parse;  ///< literal ones in a prompt, as data.special_tokens
  Dtype dtype = Dtype::float32;
  DeviceChoice device = DeviceChoice::automatic;
  std::int64_t sequences = 32;  ///< decoded at once
};

/// The stop strings of a template where a user names none. Answers to the Alpaca prompt end at "</s>" and
/// "### Response:", as the Wombats' inference script cuts them; others have none.
std::vector<std::string> default_stops(std::string_view template_name);

/// Prompts as the model sees them.
struct Prompts {
  std::vector<generate::Request> requests;  ///< one a query, `row` its number in the file
  std::int64_t cut = 0;                     ///< prompts of which max_prompt_tokens dropped the beginning
  std::int64_t short_of_room = 0;  ///< prompts that leave the answer fewer than max_new_tokens of the model's positions
};

struct PromptIds {
  std::vector<std::int32_t> ids;
  bool cut = false;  ///< max_prompt_tokens dropped its beginning
};

/// Not thread-safe.
class Answerer {
 public:
  /// Reads everything but the weights. A folder with an encoding note (rrhf.json) is decoded as it was trained.
  /// Throws InputError for wrong decoding options, an unknown template, a device that is not there, and for a folder
  /// without config, tokenizer or weights that fit each other.
  explicit Answerer(AnswerSettings settings);

  /// Throws InputError naming up to 20 queries whose prompt leaves no place for an answer in the model's positions, or
  /// that carry the Alpaca template already where the template would wrap them again.
  Prompts prompts(std::span<const data::Query> queries) const;

  /// [BOS, tokens of a prompt as the model is to see it], its beginning dropped where max_prompt_tokens says so.
  PromptIds prompt_ids(std::string_view prompt) const;

  /// Throws InputError for weights that are missing or of another shape.
  void load_weights();

  /// Needs load_weights().
  generate::Generator generator() const { return generator(settings_.decoding); }
  generate::Generator generator(const DecodingOptions& decoding) const;

  /// What decides the answers: the model's files and the settings. Equal for runs whose answers may stand together.
  Json identity() const;

  const AnswerSettings& settings() const noexcept { return settings_; }
  const text::PromptTemplate& prompt_template() const noexcept { return template_; }
  const text::Tokenizer& tokenizer() const noexcept { return tokenizer_; }
  const generate::Beginning& beginning() const noexcept { return beginning_; }
  const model::LlamaConfig& config() const noexcept { return config_; }

  /// Positions the model was made for.
  std::int64_t context_length() const;

 private:
  AnswerSettings settings_;
  text::PromptTemplate template_;
  model::LlamaConfig config_;
  text::Tokenizer tokenizer_;
  generate::Beginning beginning_;
  at::Device device_;
  std::unique_ptr<model::Llama> llama_;
};

/// What makes answering so many prompts smaller, for train::with_memory_advice().
std::string answering_advice(const AnswerSettings& settings, std::size_t prompts);

}  // namespace rrhf::workflow
