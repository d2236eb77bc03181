// What a reward model reads: [BOS] query response [EOS], one sequence a response.
//
// together: the prompt (the query in its template), `join` and the response are tokenized as ONE text, as
//           tokenizer(prompt + join + response) does, so that a token may span the seam.
// apart:    [BOS prompt] and [join response EOS] are tokenized each by itself, as `data.encoding: plain` trains.
// A sequence above `max_length` keeps its BOS, its EOS and the END of the text between, as a tokenizer of transformers
// with truncation_side "left" does.
//
// The sequences of a row share what they begin with: the longest common prefix is computed once for all of them,
// whatever the tokens at the seam are. A sequence that was cut begins elsewhere and stands alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/reward/row.h"
#include "rrhf/text/prompt_template.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::reward {

struct SequenceOptions {
  Joining joining = Joining::together;
  std::string join;           ///< stands between prompt and response
  bool eos = true;            ///< the sequence ends with EOS, and the reward is read there
  bool parse_special = true;  ///< a literal "</s>" in a text is that token
  std::int64_t max_length = 2048;
  /// Sequences longer than this are computed alone: with dynamic rotary scaling their length decides their angles.
  std::int64_t shared_until = 2048;
};

/// Sequences with one beginning. The whole of sequence i is prefix + rests[i].
struct SharedSequences {
  std::vector<std::int32_t> prefix;  ///< at least BOS
  std::vector<std::vector<std::int32_t>> rests;
  std::vector<std::size_t> responses;  ///< which response of the row each is

  std::int64_t tokens() const;  ///< computed: the prefix once, the rests
};

struct RowSequences {
  std::vector<SharedSequences> groups;
  std::int64_t cut = 0;  ///< sequences cut on the left
};

/// Holds references: tokenizer and template must outlive it. Safe from several threads.
class SequenceEncoder {
 public:
  SequenceEncoder(const text::Tokenizer& tokenizer, const text::PromptTemplate& prompt_template,
                  SequenceOptions options);

  /// Throws InputError, naming the row, when the template would wrap an Alpaca prompt twice.
  RowSequences encode(const Row& row) const;

 private:
  using Tokens = std::vector<std::int32_t>;
  Tokens text_tokens(const std::string& prompt, const std::string& response) const;

  const text::Tokenizer* tokenizer_;
  const text::PromptTemplate* template_;
  SequenceOptions options_;
};

}  // namespace rrhf::reward
