#include "rrhf/generate/prompt.h"

#include <algorithm>

#include "rrhf/core/error.h"

namespace rrhf::generate {

std::vector<std::int32_t> prompt_ids(const text::Tokenizer& tokenizer, const Beginning& beginning,
                                     std::string_view text, std::optional<std::int64_t> most) {
  if (most && *most < 1) throw_input("generate", "a prompt of at most {} tokens has no place for its BOS", *most);
  const std::vector<std::int32_t> ids = tokenizer.encode(text, beginning.special);
  const std::int64_t kept = most ? std::min(std::ssize(ids), *most - 1) : std::ssize(ids);
  std::vector<std::int32_t> prompt{beginning.bos};
  prompt.insert(prompt.end(), ids.end() - kept, ids.end());
  return prompt;
}

}  // namespace rrhf::generate
