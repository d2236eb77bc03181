// Prompt templates: what stands around a query.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rrhf::text {

/// Turns a query into the prompt the model sees.
/// none: the query itself. alpaca: the query is the Alpaca instruction. alpaca-split: the part before its first newline
/// is the instruction, the rest the input (no input where the rest is empty), as the release's train_alpaca_prompt.py
/// does. Anything else is the path of a UTF-8 text file with {query} in it, once or more.
/// A template file's final line break is not part of the prompt, since editors add one; a prompt that is to end with
/// one has an empty line last. A byte order mark is dropped, all else is kept.
/// Immutable: safe from several threads.
class PromptTemplate {
 public:
  /// Throws InputError when a file is missing, is not UTF-8 or lacks {query}.
  static PromptTemplate named(std::string_view name_or_path);

  std::string apply(std::string_view query) const;

  const std::string& name() const noexcept { return name_; }

  /// True when this is the Alpaca template, split or not, and the query already carries it. What a file puts around a
  /// query is its writer's business.
  bool would_wrap_twice(std::string_view query) const;

 private:
  enum class Kind : std::uint8_t { none, alpaca, alpaca_split, file };

  Kind kind_ = Kind::none;
  std::string name_;
  std::string file_text_;
};

/// True when the text carries the Alpaca template ("### Instruction:" followed by "### Response:").
bool carries_alpaca_template(std::string_view text);

}  // namespace rrhf::text
