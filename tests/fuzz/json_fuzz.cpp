// Any bytes as JSON of Python's dialect: refused, or a value that comes back from its own text; and as an array whose
// elements are the same however its bytes arrive.
#include "rrhf/core/json.h"

#include <cmath>

#include "tests/fuzz/fuzz.h"

namespace {

using rrhf::ArraySplitter;
using rrhf::Json;
using rrhf::JsonSyntax;
using Elements = std::vector<ArraySplitter::Element>;

bool all_finite(const Json& value) {
  if (value.is_number_float()) return std::isfinite(value.get<double>());
  if (!value.is_structured()) return true;
  for (const Json& element : value) {
    if (!all_finite(element)) return false;
  }
  return true;
}

void check_value(std::string_view text, rrhf::JsonOptions options) {
  try {
    const Json value = rrhf::parse_json_row(text, options);
    if (all_finite(value)) {
      rrhf::testing::require(rrhf::parse_json_row(rrhf::dump_json(value)) == value, "a value is what its text says");
    }
  } catch (const JsonSyntax& syntax) {
    rrhf::testing::require(!syntax.reason().empty(), "a reason is given");
    rrhf::testing::require(!syntax.reason().starts_with('['), "in our own words");
  }
}

// The elements up to the first mistake.
Elements split(std::string_view text, std::size_t piece) {
  ArraySplitter splitter;
  Elements elements;
  try {
    for (std::size_t at = 0; at < text.size(); at += piece) splitter.feed(text.substr(at, piece), elements);
  } catch (const JsonSyntax&) {
  }
  rrhf::testing::require(splitter.open_element() <= splitter.position(), "an element begins within what was taken");
  return elements;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return rrhf::testing::fuzz_one(data, size, [](std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    check_value(text, {});
    check_value(text, {.comments = true, .repeated_keys = true});
    const Elements whole = split(text, text.size() + 1), pieces = split(text, 3);
    rrhf::testing::require(whole.size() == pieces.size(), "as many elements however bytes arrive");
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const auto& element = whole[i];
      rrhf::testing::require(element.text == pieces[i].text && element.byte == pieces[i].byte, "the same elements");
      rrhf::testing::require(text.substr(element.byte, element.text.size()) == element.text,
                             "where they are said to be");
    }
  });
}
