#include "rrhf/reward/sequence.h"

#include <algorithm>
#include <utility>

#include "rrhf/core/error.h"

namespace rrhf::reward {
namespace {

using Tokens = std::vector<std::int32_t>;

std::size_t common_prefix(const std::vector<Tokens>& sequences) {
  std::size_t length = sequences.front().size();
  for (const Tokens& tokens : sequences) {
    const auto end = std::ranges::mismatch(sequences.front(), tokens).in1;
    length = std::min(length, static_cast<std::size_t>(end - sequences.front().begin()));
  }
  return length;
}

SharedSequences shared(const std::vector<Tokens>& sequences, std::vector<std::size_t> responses) {
  const auto length = static_cast<std::ptrdiff_t>(common_prefix(sequences));
  SharedSequences group{.prefix = {sequences[0].begin(), sequences[0].begin() + length}, .rests = {}, .responses = {}};
  for (const Tokens& tokens : sequences) group.rests.emplace_back(tokens.begin() + length, tokens.end());
  group.responses = std::move(responses);
  return group;
}

}  // namespace

std::int64_t SharedSequences::tokens() const {
  std::int64_t count = std::ssize(prefix);
  for (const auto& rest : rests) count += std::ssize(rest);
  return count;
}

SequenceEncoder::SequenceEncoder(const text::Tokenizer& tokenizer, const text::PromptTemplate& prompt_template,
                                 SequenceOptions options)
    : tokenizer_(&tokenizer), template_(&prompt_template), options_(std::move(options)) {}

Tokens SequenceEncoder::text_tokens(const std::string& prompt, const std::string& response) const {
  const auto special = options_.parse_special ? text::SpecialHandling::parse : text::SpecialHandling::plain;
  if (options_.joining == Joining::together) {
    return tokenizer_->encode(prompt + options_.join + response, special);
  }
  Tokens tokens = tokenizer_->encode(prompt, special);
  const Tokens rest = tokenizer_->encode(options_.join + response, special);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  return tokens;
}

RowSequences SequenceEncoder::encode(const Row& from) const {
  if (template_->would_wrap_twice(from.query)) {
    throw_input(
        "reward",
        "{}: the query already carries the Alpaca template and score.template {} would wrap it again; set it to none",
        from.where.text(), template_->name());
  }
  const std::string prompt = template_->apply(from.query);
  const std::int64_t room = std::max<std::int64_t>(0, options_.max_length - (options_.eos ? 2 : 1));
  RowSequences row;
  std::vector<Tokens> whole;
  std::vector<std::size_t> whole_responses;
  for (std::size_t i = 0; i < from.responses.size(); ++i) {
    Tokens tokens = text_tokens(prompt, from.responses[i]);
    const bool cut = std::ssize(tokens) > room;
    if (cut) tokens.erase(tokens.begin(), tokens.end() - room);
    tokens.insert(tokens.begin(), tokenizer_->bos_id());
    if (options_.eos) tokens.push_back(tokenizer_->eos_id());
    row.cut += cut;
    if (cut || std::ssize(tokens) > options_.shared_until) {
      row.groups.push_back(shared({std::move(tokens)}, {i}));
    } else {
      whole.push_back(std::move(tokens));
      whole_responses.push_back(i);
    }
  }
  if (!whole.empty()) row.groups.push_back(shared(whole, std::move(whole_responses)));
  return row;
}

}  // namespace rrhf::reward
