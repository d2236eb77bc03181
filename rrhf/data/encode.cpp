#include "rrhf/data/encode.h"

#include <algorithm>
#include <span>

#include "rrhf/core/error.h"

namespace rrhf::data {
namespace {

text::SpecialHandling handling(const EncodeOptions& options) {
  if (options.special_tokens == SpecialText::plain) return text::SpecialHandling::plain;
  return options.encoding == Encoding::released ? text::SpecialHandling::parse_strip : text::SpecialHandling::parse;
}

// The tokenizer of the released code reads a limit of 0 as none and gives up at 1: no cut in either case.
bool cuts_at(std::int64_t room, Encoding encoding) { return encoding == Encoding::plain || room > 1; }

bool cut_to(std::vector<std::int32_t>& tokens, std::int64_t length) {
  if (std::ssize(tokens) <= length) return false;
  tokens.resize(static_cast<std::size_t>(length));
  return true;
}

}  // namespace

QuerySize EncodedQuery::size() const {
  QuerySize size{.prompt = std::ssize(prompt), .labels = 0, .responses = std::ssize(responses)};
  for (const auto& response : responses) size.labels += std::ssize(response);
  return size;
}

ResponseRange chosen_responses(ResponseChoice choice, std::size_t count) {
  const std::size_t provided = std::min<std::size_t>(2, count);
  if (choice == ResponseChoice::provided) return {count - provided, provided};
  if (choice == ResponseChoice::sampled) return {0, count - provided};
  return {0, count};
}

bool has_pair(const RankedExample& row, ResponseChoice choice) {
  const ResponseRange chosen = chosen_responses(choice, row.scores.size());
  const auto scores = std::span(row.scores).subspan(chosen.first, chosen.size);
  return std::ranges::any_of(scores, [&](double score) { return score != scores.front(); });
}

std::optional<std::string> settings_mistake(const RankedExample& row, const text::PromptTemplate& prompt_template,
                                            ResponseChoice responses) {
  if (prompt_template.would_wrap_twice(row.query)) {
    return fmt::format(
        "the query already carries the Alpaca template and data.template {} would wrap it again; set data.template to "
        "none (--set data.template=none)",
        prompt_template.name());
  }
  const std::size_t count = row.responses.size();
  if (chosen_responses(responses, count).size == 0) {
    return fmt::format("data.responses {} leaves nothing of {} response{}; set it to all (--set data.responses=all)",
                       name_of(responses), count, count == 1 ? "" : "s");
  }
  return std::nullopt;
}

RowEncoder::RowEncoder(const text::Tokenizer& tokenizer, const text::PromptTemplate& prompt_template,
                       EncodeOptions options)
    : tokenizer_(&tokenizer), template_(&prompt_template), options_(options) {}

std::int32_t RowEncoder::bos_id() const {
  return options_.bos_token == BosToken::eos ? tokenizer_->eos_id() : tokenizer_->bos_id();
}

RowEncoder::Tokens RowEncoder::whole_prompt(const RankedExample& row) const {
  Tokens tokens = tokenizer_->encode(template_->apply(row.query), handling(options_));
  tokens.insert(tokens.begin(), bos_id());
  return tokens;
}

RowEncoder::Tokens RowEncoder::whole_response(const std::string& response) const {
  const std::string text = options_.stop_response ? stop_response(response) : response;
  if (options_.encoding == Encoding::plain) {
    Tokens tokens = tokenizer_->encode(text, handling(options_));
    tokens.push_back(tokenizer_->eos_id());
    return tokens;
  }
  // The released code appends EOS as text, so that parsing it also strips the white space before it.
  const bool as_text = options_.special_tokens == SpecialText::parse;
  Tokens tokens =
      tokenizer_->encode(as_text ? text + tokenizer_->piece(tokenizer_->eos_id()) : text, handling(options_));
  if (!as_text) tokens.push_back(tokenizer_->eos_id());
  tokens.insert(tokens.begin(), bos_id());
  return tokens;
}

void RowEncoder::encode_responses(const RankedExample& row, EncodedQuery& query, CutReport& cut) const {
  const ResponseRange chosen = chosen_responses(options_.responses, row.responses.size());
  const std::int64_t room = options_.max_length - std::ssize(query.prompt);
  for (std::size_t i = 0; i < row.responses.size(); ++i) {
    Tokens tokens = whole_response(row.responses[i]);
    const std::int64_t whole = std::ssize(tokens);
    const bool was_cut = cuts_at(room, options_.encoding) && cut_to(tokens, room);
    query.padded_length = std::max(query.padded_length, std::ssize(query.prompt) + std::ssize(tokens));
    if (i < chosen.first || i >= chosen.first + chosen.size) continue;
    cut.responses_cut += was_cut;
    cut.response_tokens.push_back(whole);
    query.responses.push_back(std::move(tokens));
    query.rewards.push_back(row.scores[i]);
  }
}

std::variant<EncodedQuery, Skipped> RowEncoder::encode(const RankedExample& row, std::int64_t index,
                                                       CutReport* cut) const {
  if (const auto mistake = settings_mistake(row, *template_, options_.responses)) {
    throw_input("data", "{}: {}", row.where.text(), *mistake);
  }
  EncodedQuery query;
  query.index = index;
  query.group = row.group;
  query.prompt = whole_prompt(row);
  CutReport report;
  report.prompt_tokens = std::ssize(query.prompt);
  report.prompt_cut = cut_to(query.prompt, options_.max_length);
  encode_responses(row, query, report);
  if (cut != nullptr) *cut = report;
  if (std::ranges::any_of(query.responses, [](const Tokens& tokens) { return tokens.empty(); })) {
    return Skipped{fmt::format("the prompt's {} tokens fill data.max_length {}: no token is left for a response",
                               report.prompt_tokens, options_.max_length)};
  }
  return query;
}

}  // namespace rrhf::data
