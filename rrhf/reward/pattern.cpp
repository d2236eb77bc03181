#include "rrhf/reward/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"

namespace rrhf::reward {
namespace {

// Steps of the matcher for one search: some tenths of a second, and memory for its heap.
constexpr std::uint32_t most_steps = 10'000'000;
constexpr std::uint32_t most_heap_kib = 256 * 1024;

const pcre2_code* code_of(const std::shared_ptr<void>& code) { return static_cast<const pcre2_code*>(code.get()); }

std::string reason_of(int error) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(error, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

std::unique_ptr<pcre2_match_context, FreeContext> bounded() {
  std::unique_ptr<pcre2_match_context, FreeContext> context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), most_steps);
  pcre2_set_heap_limit(context.get(), most_heap_kib);
  return context;
}

std::uint32_t flags_of(const PatternOptions& options) {
  return PCRE2_UTF | PCRE2_UCP | (options.ignore_case ? PCRE2_CASELESS : 0) |
         (options.whole ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : 0);
}

}  // namespace

Pattern::Pattern(std::string pattern, PatternOptions options) : pattern_(std::move(pattern)) {
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern_.data()), pattern_.size(), flags_of(options),
                                   &error, &at, nullptr);
  if (code == nullptr) {
    throw_input("rule", "\"{}\" is not a regular expression: {} (at character {})", pattern_, reason_of(error),
                code_points(std::string_view(pattern_).substr(0, at)) + 1);
  }
  code_ = std::shared_ptr<void>(code, [](void* compiled) { pcre2_code_free(static_cast<pcre2_code*>(compiled)); });
}

std::optional<Pattern::Match> Pattern::find(std::string_view text, std::size_t from) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> data(
      pcre2_match_data_create_from_pattern(code_of(code_), nullptr));
  const int found = pcre2_match(code_of(code_), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                from > 0 ? PCRE2_NO_UTF_CHECK : 0, data.get(), bounded().get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) {
    throw_input("rule", "the pattern \"{}\" gave up on a text of {} bytes: {}; write it without nested repetition",
                shorten(pattern_, 80), text.size(), reason_of(found));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
  Match match{.begin = bounds[0], .end = bounds[1], .groups = {}};
  for (std::size_t group = 0; group <= groups(); ++group) {
    const bool set = static_cast<int>(group) < found && bounds[2 * group] != PCRE2_UNSET;
    match.groups.push_back(
        set ? std::optional(text.substr(bounds[2 * group], bounds[2 * group + 1] - bounds[2 * group])) : std::nullopt);
  }
  return match;
}

std::int64_t Pattern::count(std::string_view text) const {
  std::uint32_t flags = 0;
  pcre2_pattern_info(code_of(code_), PCRE2_INFO_ALLOPTIONS, &flags);
  if ((flags & PCRE2_ENDANCHORED) != 0) return matches(text) ? 1 : 0;  // the whole text, and not its empty end besides
  std::int64_t count = 0;
  std::size_t from = 0;
  while (from <= text.size()) {
    const auto match = find(text, from);
    if (!match) break;
    ++count;
    from = match->end;
    if (match->end > match->begin) continue;
    do {  // past an empty match, by one whole character
      ++from;
    } while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xc0) == 0x80);
  }
  return count;
}

std::optional<std::size_t> Pattern::group_named(const std::string& name) const {
  const int number = pcre2_substring_number_from_name(code_of(code_), reinterpret_cast<PCRE2_SPTR>(name.c_str()));
  return number > 0 ? std::optional(static_cast<std::size_t>(number)) : std::nullopt;
}

std::size_t Pattern::groups() const {
  std::uint32_t count = 0;
  pcre2_pattern_info(code_of(code_), PCRE2_INFO_CAPTURECOUNT, &count);
  return count;
}

}  // namespace rrhf::reward
