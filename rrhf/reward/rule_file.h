// A file of rules (JSON with // comments): one rule, or
//     {"tables": {NAME: {word: word}}, "lists": {NAME: list}, "rules": {NAME: rule}, "score": rule}
// where a list or rule may be the name of one defined before it. All kinds: docs/rewards.md.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "rrhf/reward/row.h"
#include "rrhf/reward/rule.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::reward {

/// Immutable: const calls are safe from several threads. `tokenizer` must outlive it.
class RuleFile {
 public:
  /// Throws InputError for a missing file, broken JSON, and ALL mistakes in the rules together: unknown rules and keys
  /// with the nearest known one, wrong types, patterns that do not compile, tokens to be counted without a tokenizer.
  static RuleFile load(const std::filesystem::path& path, const text::Tokenizer* tokenizer = nullptr);

  /// The same from a text; `where` names it in messages.
  static RuleFile parse(std::string_view text, std::string_view where, const text::Tokenizer* tokenizer = nullptr);

  /// The reward of each response. Throws InputError, naming the row, where a rule can't be computed or its value is not
  /// finite.
  std::vector<double> score(const Row& row) const;

 private:
  explicit RuleFile(RulePtr rule) : rule_(std::move(rule)) {}
  RulePtr rule_;
};

}  // namespace rrhf::reward
