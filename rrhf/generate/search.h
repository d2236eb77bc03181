// One prompt's answers under way: what the generator drives, whatever the method.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "rrhf/generate/generator.h"

namespace rrhf::generate {

/// A sequence goes on with a token. `parent` is a row of the logits that were decided on.
struct Branch {
  std::int64_t parent = 0;
  std::int32_t token = 0;
};

/// What all searches of a run share.
struct SearchContext {
  const text::Tokenizer& tokenizer;
  const DecodingOptions& options;
};

/// A prompt as it was fed, and how many tokens an answer to it may have.
struct SearchPrompt {
  std::span<const std::int32_t> ids;
  std::uint64_t row = 0;
  std::int64_t most_new = 0;
};

/// Tells of a new token (its request is filled in by the generator); false: no more of this answer.
using TellToken = std::function<bool(const NewToken&)>;

class Search {
 public:
  virtual ~Search() = default;

  /// Decides on logits [rows, V] on the CPU, float or double: at first the one row that follows the prompt, then a row
  /// for each branch of the last go_on(). Touches this search alone, so that searches can decide side by side.
  virtual void decide(const at::Tensor& logits_RV) = 0;

  /// How the search goes on; nothing once it has ended. `tell` may be empty.
  virtual std::vector<Branch> go_on(const TellToken& tell) = 0;

  /// The answers, once it has ended.
  virtual std::vector<Answer> answers() = 0;

  /// Tokens decided so far.
  virtual std::int64_t new_tokens() const = 0;
};

/// By the method of the options.
std::unique_ptr<Search> make_search(const SearchContext& context, const SearchPrompt& prompt);

std::unique_ptr<Search> make_sample_search(const SearchContext& context, const SearchPrompt& prompt);
std::unique_ptr<Search> make_beam_search(const SearchContext& context, const SearchPrompt& prompt);

}  // namespace rrhf::generate
