// The parts of a text that rules count and look into.
#pragma once

#include <string_view>
#include <vector>

#include "rrhf/reward/rule.h"

namespace rrhf::reward {

/// The sentences of a text, each with its end mark: a sentence ends at ".", "!" or "?" before white space, and at the
/// text's end.
std::vector<std::string_view> sentences(std::string_view text);

/// Which text of a subject a rule looks at.
enum class Side { response, query };

inline std::string_view text_of(const Subject& subject, Side side) {
  return side == Side::query ? subject.query : subject.response;
}

/// Where in that text a pattern is looked for.
enum class Place { anywhere, sentences, first_sentence, last_sentence };

/// The texts to look into, in order: the whole, or the sentences asked for. May be none.
std::vector<std::string_view> places(std::string_view text, Place place);

}  // namespace rrhf::reward
