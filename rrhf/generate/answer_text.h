// The text of an answer as its tokens come, and the stop strings in it.
//
// A token's text depends on its neighbours: SentencePiece drops a leading space, and a character may be spelled in
// several byte tokens. So each new piece is what two decodings differ by, of the last tokens without and with the new.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/text/tokenizer.h"

namespace rrhf::generate {

/// Copyable, since beams part. Keeps references to the tokenizer and the stop strings.
class AnswerText {
 public:
  AnswerText(const text::Tokenizer& tokenizer, std::span<const std::string> stops)
      : tokenizer_(&tokenizer), stops_(stops) {}

  /// Takes the next token. Gives the text that is now certain to be part of the answer: not what may be the beginning
  /// of a stop string or of a character.
  std::string_view add(std::int32_t id);

  /// A stop string has come. Nothing may be added after it.
  bool stopped() const noexcept { return stopped_; }

  /// What was held back, once nothing comes any more.
  std::string_view finish();

  /// All text so far, cut where the first stop string begins.
  std::string_view text() const noexcept { return text_; }

 private:
  std::string_view certain(std::size_t end);
  void cut_at_stop(std::size_t first_new);
  std::size_t undecided() const;

  const text::Tokenizer* tokenizer_;
  std::span<const std::string> stops_;
  std::vector<std::int32_t> window_;  // the last tokens: `known_` whose text is in text_, then those without
  std::size_t known_ = 0;
  std::string text_;
  std::size_t given_ = 0;  // bytes of text_ that were given out
  bool stopped_ = false;
};

}  // namespace rrhf::generate
