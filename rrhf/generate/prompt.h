// How a sequence begins: prompt text to token ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "rrhf/text/tokenizer.h"

namespace rrhf::generate {

/// The beginning of a sequence as the model was trained on it. A folder with an encoding note (rrhf.json) says which;
/// one without it begins with the tokenizer's BOS and has none before the answer.
struct Beginning {
  std::int32_t bos = 1;            ///< first token of every sequence
  bool bos_before_answer = false;  ///< the released encoding: `bos` is fed between prompt and answer
  text::SpecialHandling special = text::SpecialHandling::parse;  ///< of literal special tokens in the text
};

/// [bos, tokens of `text`]. With `most`, at most so many ids: `bos` and the last of the text.
/// The BOS before an answer is not among them: the Generator feeds it.
std::vector<std::int32_t> prompt_ids(const text::Tokenizer& tokenizer, const Beginning& beginning,
                                     std::string_view text, std::optional<std::int64_t> most = std::nullopt);

}  // namespace rrhf::generate
