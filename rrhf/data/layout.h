// The layouts of ranked data, one row parser each. To add one: write its file beside these and name it in layout.cpp.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "rrhf/core/choices.h"
#include "rrhf/data/ranked_example.h"
#include "rrhf/data/row_fields.h"

namespace rrhf::data {

struct Layout {
  DataFormat format;
  std::string_view name;             ///< "GPT-4-LLM comparison v2"
  std::string_view keys;             ///< what a row holds, for messages
  bool usually_array;                ///< the release has one JSON array (else JSON lines); both are read
  bool (*matches)(const Json& row);  ///< `row` is an object
  void (*parse)(RowFields& fields, RankedExample& example);  ///< fills the example; mistakes are noted in `fields`
};

extern const Layout rrhf_layout;
extern const Layout gpt4llm_v1_layout;
extern const Layout gpt4llm_v2_layout;
extern const Layout hh_layout;
extern const Layout preference_layout;

/// The layout of the given format that this row is in, by its keys; null when there is none.
const Layout* find_layout(const Json& row, DataFormat format);

/// The only layout a format has; null when its rows must be looked at (auto, and gpt4llm with its two versions).
const Layout* only_layout(DataFormat format);

/// What an example says as a row of the RRHF layout.
Json rrhf_row(const RankedExample& example);

/// A row of another layout as one of the RRHF layout: what `example`, parsed from it, says, and the keys that no layout
/// has in words of its own.
Json as_rrhf_row(const Json& row, const RankedExample& example);

/// Whether only layouts other than RRHF's have this key: "user_input", "chosen", ...
bool is_word_of_layout(std::string_view key);

/// A line for each layout of the format: name, word for data.format, keys.
std::string list_layouts(DataFormat format);

/// "RRHF JSON lines", "RRHF JSON array", "GPT-4-LLM comparison v2", "GPT-4-LLM comparison v2 JSON lines".
std::string describe_layout(const Layout& layout, bool is_array);

}  // namespace rrhf::data
