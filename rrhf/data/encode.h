// From a row to the token ids the model sees.
//
// plain:    prompt [BOS q], response [r EOS].
// released: prompt [BOS q], response [BOS r EOS], tokenized as transformers 4.28.1 did; a response enters uncut when
// the
//           room left is 0 or 1 (../docs/losses.md, "The released recipe").
// Both cut the prompt on the right to max_length, then the response on the right to the room left, so that a response
// that is cut loses its EOS.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/data/ranked_example.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::data {

struct EncodeOptions {
  Encoding encoding = Encoding::plain;
  BosToken bos_token = BosToken::model;
  SpecialText special_tokens = SpecialText::parse;
  std::int64_t max_length = 512;
  ResponseChoice responses = ResponseChoice::all;
  bool stop_response = false;
};

/// How long a query is, in tokens.
struct QuerySize {
  std::int64_t prompt = 0;
  std::int64_t labels = 0;     ///< over all responses
  std::int64_t responses = 0;  ///< how many

  std::int64_t packed() const noexcept { return prompt + labels; }
};

/// One query as token ids. Every token of a response is a label; the prompt's last row predicts the first of each.
struct EncodedQuery {
  std::vector<std::int32_t> prompt;                  ///< at least BOS
  std::vector<std::vector<std::int32_t>> responses;  ///< the chosen ones, in file order, none empty
  std::vector<double> rewards;                       ///< one per response
  std::int64_t padded_length = 0;  ///< longest prompt + response over ALL responses of the row after cutting
  std::int64_t index = 0;          ///< position in the dataset it was encoded from
  std::string group;

  QuerySize size() const;
  std::int64_t label_count() const { return size().labels; }      ///< over all responses
  std::int64_t packed_tokens() const { return size().packed(); }  ///< |prompt| + sum of |response|
};

/// How long the texts were before cutting, for `data stats` and `inspect`.
struct CutReport {
  bool prompt_cut = false;
  std::int64_t responses_cut = 0;             ///< of the chosen responses
  std::int64_t prompt_tokens = 0;             ///< before cutting, BOS included
  std::vector<std::int64_t> response_tokens;  ///< of the chosen responses before cutting, BOS and EOS included
};

struct Skipped {
  std::string why;
};

/// Which responses of a row of `count` are trained on: `size` of them from `first` on. May be none.
struct ResponseRange {
  std::size_t first = 0;
  std::size_t size = 0;
};
ResponseRange chosen_responses(ResponseChoice choice, std::size_t count);

/// Whether two of the chosen responses have unequal scores.
bool has_pair(const RankedExample& row, ResponseChoice choice);

/// Why the settings do not go with a row, with a way out: the template would wrap an Alpaca prompt twice, or
/// `responses` leaves nothing. Nothing when they do.
std::optional<std::string> settings_mistake(const RankedExample& row, const text::PromptTemplate& prompt_template,
                                            ResponseChoice responses);

/// The responses that have text which `stop_response` cuts down to nothing: "response 1 is empty after ...". Empty
/// where there are none, or without stop_response.
std::string stop_warning(const RankedExample& row, bool stop_responses);

/// Encodes rows one after the other. Holds references: tokenizer and template must outlive it. Safe from several
/// threads.
class RowEncoder {
 public:
  RowEncoder(const text::Tokenizer& tokenizer, const text::PromptTemplate& prompt_template, EncodeOptions options);

  /// A query that leaves no token for its responses (plain only) is Skipped.
  /// Throws InputError when the template would wrap an Alpaca prompt twice, or when `responses` leaves nothing.
  /// `cut` is filled in both cases.
  std::variant<EncodedQuery, Skipped> encode(const RankedExample& row, std::int64_t index,
                                             CutReport* cut = nullptr) const;

  const EncodeOptions& options() const noexcept { return options_; }

 private:
  using Tokens = std::vector<std::int32_t>;
  Tokens whole_prompt(const RankedExample& row) const;
  Tokens whole_response(const std::string& response) const;
  void encode_responses(const RankedExample& row, EncodedQuery& query, CutReport& cut) const;
  std::int32_t bos_id() const;

  const text::Tokenizer* tokenizer_;
  const text::PromptTemplate* template_;
  EncodeOptions options_;
};

/// A response ends where the dialogue goes on: at "\n\nHuman:", "\n\nAssistant:" or either in lower case. These four
/// are looked for one after the other, and what is left is stripped after each cut, as the released code does.
/// A response without them comes back untouched.
std::string stop_response(std::string_view response);

}  // namespace rrhf::data
