// Regular expressions over texts of any length: PCRE2 in UTF-8 mode (the syntax of Perl, close to Python's re).
//
// std::regex goes a stack frame deeper with every character and ends the program on long texts. PCRE2 matches on the
// heap; what a pattern may cost is bounded, and one that reaches the bound is an error that names the pattern.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::reward {

struct PatternOptions {
  bool ignore_case = false;
  bool whole = false;  ///< must match the whole text, as re.fullmatch
};

/// A compiled pattern. Immutable, cheap to copy; const calls are safe from several threads.
class Pattern {
 public:
  /// What a match captured. Valid while the text lives.
  struct Match {
    std::size_t begin = 0, end = 0;                       ///< bytes of the text
    std::vector<std::optional<std::string_view>> groups;  ///< [0] is the whole match
  };

  /// Throws InputError "PATTERN: reason (at character N)" for a pattern that is not one; the caller adds where it
  /// stands.
  explicit Pattern(std::string pattern, PatternOptions options = {});

  /// The first match from byte `from` on. Throws InputError when the text needs more work than is allowed.
  std::optional<Match> find(std::string_view text, std::size_t from = 0) const;

  bool matches(std::string_view text) const { return find(text).has_value(); }

  /// Matches that do not overlap, empty ones counted; of a whole text one at most.
  std::int64_t count(std::string_view text) const;

  /// The number of the group of this name, or nothing.
  std::optional<std::size_t> group_named(const std::string& name) const;

  /// Number of groups, the whole match not counted.
  std::size_t groups() const;

  const std::string& text() const noexcept { return pattern_; }

 private:
  std::string pattern_;
  std::shared_ptr<void> code_;
};

}  // namespace rrhf::reward
