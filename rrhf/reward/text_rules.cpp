// Rules on one text: length, regex, exact, repetition.
#include <algorithm>
#include <array>
#include <string>
#include <unordered_set>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"
#include "rrhf/reward/rule_reader.h"

namespace rrhf::reward {
namespace {

// --- length
// -----------------------------------------------------------------------------------------------------------

enum class Unit { words, characters, sentences, tokens };

// 1 inside the window, 0 outside; with `fade`, falling to 0 over so many units outside of it.
struct Window {
  double least = 0;
  std::optional<double> most;
  double fade = 0;

  double value(double count) const {
    const double outside = count < least ? least - count : most && count > *most ? count - *most : 0;
    if (outside == 0) return 1;
    return fade > 0 ? std::max(0.0, 1 - outside / fade) : 0;
  }
};

Window read_window(RuleObject& object, double least) {
  Window window{.least = object.number("min", least), .most = object.maybe_number("max"), .fade = 0};
  if (window.most && *window.most < window.least) object.mistake("\"max\" is below \"min\": nothing fits");
  return window;
}

class LengthRule final : public Rule {
 public:
  LengthRule(Unit unit, Side side, Window window, const text::Tokenizer* tokenizer)
      : unit_(unit), side_(side), window_(window), tokenizer_(tokenizer) {}

  double value(const Subject& subject) const override {
    return window_.value(static_cast<double>(count(text_of(subject, side_))));
  }

 private:
  std::size_t count(std::string_view text) const {
    switch (unit_) {
      case Unit::words:
        return split_words(text).size();
      case Unit::characters:
        return code_points(text);
      case Unit::sentences:
        return sentences(text).size();
      case Unit::tokens:
        break;
    }
    return tokenizer_->encode(text).size();
  }

  Unit unit_;
  Side side_;
  Window window_;
  const text::Tokenizer* tokenizer_;
};

RulePtr read_length(RuleObject& object) {
  constexpr std::array<std::string_view, 4> units{"words", "characters", "sentences", "tokens"};
  const auto unit = static_cast<Unit>(object.word("unit", units));
  if (unit == Unit::tokens && object.scope().tokenizer == nullptr) {
    object.mistake("\"unit\" tokens needs a tokenizer: --tokenizer DIR names a model folder");
  }
  if (!object.has("min") && !object.has("max")) object.mistake("\"min\", \"max\" or both are needed");
  Window window = read_window(object, 0);
  window.fade = object.number("fade", 0.0);
  return std::make_shared<LengthRule>(unit, object.side(), window, object.scope().tokenizer);
}

// --- regex
// ------------------------------------------------------------------------------------------------------------

class RegexRule final : public Rule {
 public:
  RegexRule(Pattern pattern, Side side, Place place, Window window)
      : pattern_(std::move(pattern)), side_(side), place_(place), window_(window) {}

  double value(const Subject& subject) const override {
    std::int64_t count = 0;
    for (const std::string_view text : places(text_of(subject, side_), place_)) {
      // Anywhere, all matches count; of sentences, those that match.
      count += place_ == Place::anywhere ? pattern_.count(text) : pattern_.matches(text);
    }
    return window_.value(static_cast<double>(count));
  }

 private:
  Pattern pattern_;
  Side side_;
  Place place_;
  Window window_;
};

RulePtr read_regex(RuleObject& object) {
  auto pattern = object.pattern("pattern", true);
  const Side side = object.side();
  const Place place = object.place();
  const Window window = read_window(object, 1);
  if (!pattern) return constant_rule(0);
  return std::make_shared<RegexRule>(std::move(*pattern), side, place, window);
}

// --- exact
// ------------------------------------------------------------------------------------------------------------

class ExactRule final : public Rule {
 public:
  ExactRule(std::string field, std::optional<Pattern> extract, bool strips, bool ignores_case)
      : field_(std::move(field)), extract_(std::move(extract)), strips_(strips), ignores_case_(ignores_case) {}

  double value(const Subject& subject) const override {
    const auto field = subject.row.find(field_);
    if (field == subject.row.end()) {
      throw_input("rule", "rule exact: the row has no \"{}\" to compare with (the rule's \"field\" names the key)",
                  field_);
    }
    std::string_view given = subject.response;
    if (extract_) {
      const auto match = extract_->find(given);
      if (!match) return 0;
      given = first_group(*match);
    }
    const std::string answer = normal(given);
    if (!field->is_array()) return answer == normal(reference(*field));
    return std::ranges::any_of(*field, [&](const Json& one) { return answer == normal(reference(one)); });
  }

 private:
  static std::string_view first_group(const Pattern::Match& match) {
    for (std::size_t i = 1; i < match.groups.size(); ++i) {
      if (match.groups[i]) return *match.groups[i];
    }
    return *match.groups[0];
  }

  std::string reference(const Json& value) const {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_number() || value.is_boolean()) return value.dump();
    throw_input("rule", "rule exact: \"{}\" of the row is {}; a text, a number or a list of them is needed", field_,
                describe(value));
  }

  std::string normal(std::string_view text) const {
    std::string result(strips_ ? strip(text) : text);
    if (ignores_case_)
      std::ranges::transform(result, result.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
    return result;
  }

  std::string field_;
  std::optional<Pattern> extract_;
  bool strips_;
  bool ignores_case_;
};

RulePtr read_exact(RuleObject& object) {
  std::string field = object.text("field", "answer");
  auto extract = object.pattern("extract", false);
  return std::make_shared<ExactRule>(std::move(field), std::move(extract), object.flag("strip", true),
                                     object.flag("ignore_case", false));
}

// --- repetition
// -------------------------------------------------------------------------------------------------------

// The starts and ends of a text's characters or words.
std::vector<std::string_view> units_of(std::string_view text, Unit unit) {
  if (unit == Unit::words) return split_words(text);
  std::vector<std::string_view> characters;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    characters.push_back(text.substr(at, end - at));
    at = end;
  }
  return characters;
}

class RepetitionRule final : public Rule {
 public:
  RepetitionRule(std::int64_t n, Unit unit) : n_(static_cast<std::size_t>(n)), unit_(unit) {}

  double value(const Subject& subject) const override {
    const std::vector<std::string_view> units = units_of(subject.response, unit_);
    if (units.size() < n_) return 0;
    const std::size_t grams = units.size() - n_ + 1;
    std::unordered_set<std::string> distinct;
    for (std::size_t i = 0; i < grams; ++i) {
      std::string gram;
      for (std::size_t j = i; j < i + n_; ++j) gram.append(units[j]).push_back('\0');
      distinct.insert(std::move(gram));
    }
    return 1 - static_cast<double>(distinct.size()) / static_cast<double>(grams);
  }

 private:
  std::size_t n_;
  Unit unit_;
};

RulePtr read_repetition(RuleObject& object) {
  constexpr std::array<std::string_view, 2> units{"words", "characters"};
  const std::int64_t n = object.whole("n", 3, 1);
  return std::make_shared<RepetitionRule>(n, static_cast<Unit>(object.word("unit", units)));
}

constexpr std::array text_kinds{RuleKind{"length", read_length}, RuleKind{"regex", read_regex},
                                RuleKind{"exact", read_exact}, RuleKind{"repetition", read_repetition}};

}  // namespace

std::span<const RuleKind> text_rules() { return text_kinds; }

}  // namespace rrhf::reward
