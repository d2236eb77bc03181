#include "rrhf/reward/rule_reader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/core/nearest.h"

namespace rrhf::reward {
namespace {

class ConstantRule final : public Rule {
 public:
  explicit ConstantRule(double value) : value_(value) {}
  double value(const Subject&) const override { return value_; }

 private:
  double value_;
};

class LiteralList final : public List {
 public:
  explicit LiteralList(Items items) : items_(std::move(items)) {}
  std::optional<Items> items(const Subject&) const override { return items_; }

 private:
  Items items_;
};

std::vector<RuleKind> all_rules() {
  std::vector<RuleKind> all;
  for (const auto part : {text_rules(), list_rules(), arithmetic_rules(), combining_rules()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

// "..., nearest: NAME. There are: ...", or that there are none.
std::string known(std::string_view word, const std::vector<std::string_view>& names) {
  if (names.empty()) return "none is defined above it";
  return fmt::format("nearest: {}. There are: {}", nearest_word(word, names), fmt::join(names, ", "));
}

template <class Map>
std::vector<std::string_view> names_of(const Map& map) {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

// The kind that an object names under `key`; null after a noted mistake.
template <class Kind>
const Kind* kind_of(RuleObject& object, std::string_view key, std::span<const Kind> kinds) {
  std::vector<std::string_view> names;
  for (const Kind& kind : kinds) names.push_back(kind.name);
  if (!object.has(key)) {
    object.mistake(fmt::format("an object with \"{}\" is needed, one of: {}", key, fmt::join(names, ", ")));
    return nullptr;
  }
  const std::string name = object.text(key, "");
  for (const Kind& kind : kinds) {
    if (kind.name == name) return &kind;
  }
  object.mistake(fmt::format("\"{}\" is not a {}; {}", name, key, known(name, names)));
  return nullptr;
}

}  // namespace

RulePtr constant_rule(double value) { return std::make_shared<ConstantRule>(value); }

RulePtr read_rule(const Json& json, const std::string& path, RuleScope& scope) {
  RuleObject object(json, path, scope);
  if (json.is_number()) return constant_rule(json.get<double>());
  if (json.is_string()) {
    const auto defined = scope.rules.find(json.get<std::string>());
    if (defined != scope.rules.end()) return defined->second;
    const std::string name = json.get<std::string>();
    object.mistake(fmt::format("no rule is called \"{}\"; {}", name, known(name, names_of(scope.rules))));
  } else if (!json.is_object()) {
    object.mistake(fmt::format("must be a rule (an object, a number or a defined name), is {}", describe(json)));
  } else if (const auto all = all_rules(); const RuleKind* kind = kind_of<RuleKind>(object, "rule", all)) {
    RulePtr rule = kind->read(object);
    object.finish(fmt::format("rule {}", kind->name));
    return rule;
  }
  return constant_rule(0);
}

ListPtr read_list(const Json& json, const std::string& path, RuleScope& scope) {
  RuleObject object(json, path, scope);
  if (json.is_string()) {
    const auto defined = scope.lists.find(json.get<std::string>());
    if (defined != scope.lists.end()) return defined->second;
    const std::string name = json.get<std::string>();
    object.mistake(fmt::format("no list is called \"{}\"; {}", name, known(name, names_of(scope.lists))));
  } else if (json.is_array()) {
    Items items;
    for (const Json& item : json) {
      if (!item.is_string()) object.mistake(fmt::format("a list holds texts, not {}", describe(item)));
      items.push_back(item.is_string() ? item.get<std::string>() : "");
    }
    return std::make_shared<LiteralList>(std::move(items));
  } else if (!json.is_object()) {
    object.mistake(fmt::format("must be a list (an object, an array or a defined name), is {}", describe(json)));
  } else if (const ListKind* kind = kind_of(object, "list", list_kinds())) {
    ListPtr list = kind->read(object);
    object.finish(fmt::format("list {}", kind->name));
    return list;
  }
  return std::make_shared<LiteralList>(Items{});
}

void RuleObject::mistake(std::string message) { scope_.mistakes.push_back(fmt::format("{}: {}", path_, message)); }

std::string RuleObject::path_of(std::string_view key) const { return fmt::format("{}.{}", path_, key); }

const Json* RuleObject::find(std::string_view key, bool required) {
  asked_.emplace(key);
  const auto found = json_.find(key);
  if (found != json_.end()) return &*found;
  if (required) mistake(fmt::format("\"{}\" is missing", key));
  return nullptr;
}

template <class Kind>
void RuleObject::wrong(std::string_view key, Kind kind, const Json& found) {
  mistake(fmt::format("\"{}\" must be {}, is {}", key, kind, describe(found)));
}

std::string RuleObject::text(std::string_view key, std::optional<std::string> otherwise) {
  const Json* found = find(key, !otherwise);
  if (found != nullptr && found->is_string()) return found->get<std::string>();
  if (found != nullptr) wrong(key, "a text", *found);
  return otherwise.value_or("");
}

std::optional<double> RuleObject::maybe_number(std::string_view key) {
  const Json* found = find(key, false);
  if (found == nullptr) return std::nullopt;
  if (found->is_number() && std::isfinite(found->get<double>())) return found->get<double>();
  wrong(key, "a number", *found);
  return std::nullopt;
}

double RuleObject::number(std::string_view key, std::optional<double> otherwise) {
  if (!otherwise) find(key);
  return maybe_number(key).value_or(otherwise.value_or(0));
}

std::int64_t RuleObject::whole(std::string_view key, std::int64_t otherwise, std::int64_t least) {
  const double value = number(key, static_cast<double>(otherwise));
  if (value != std::floor(value) || value < static_cast<double>(least) || value > 1e9) {
    mistake(fmt::format("\"{}\" must be a whole number, at least {}", key, least));
    return otherwise;
  }
  return static_cast<std::int64_t>(value);
}

bool RuleObject::flag(std::string_view key, bool otherwise) {
  const Json* found = find(key, false);
  if (found == nullptr) return otherwise;
  if (found->is_boolean()) return found->get<bool>();
  wrong(key, "true or false", *found);
  return otherwise;
}

std::vector<double> RuleObject::numbers(std::string_view key) {
  const Json* found = find(key, false);
  std::vector<double> values;
  if (found == nullptr) return values;
  const bool good =
      found->is_array() && std::ranges::all_of(*found, [](const Json& value) { return value.is_number(); });
  if (!good) {
    wrong(key, "a list of numbers", *found);
    return values;
  }
  for (const Json& value : *found) values.push_back(value.get<double>());
  return values;
}

std::size_t RuleObject::word(std::string_view key, std::span<const std::string_view> words) {
  const std::string chosen = text(key, std::string(words.front()));
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == chosen) return i;
  }
  mistake(fmt::format("\"{}\" is \"{}\"; it must be one of: {}", key, chosen, fmt::join(words, ", ")));
  return 0;
}

Side RuleObject::side() {
  constexpr std::array<std::string_view, 2> words{"response", "query"};
  return word("in", words) == 1 ? Side::query : Side::response;
}

Place RuleObject::place() {
  constexpr std::array<std::string_view, 4> words{"anywhere", "sentences", "first sentence", "last sentence"};
  return static_cast<Place>(word("where", words));
}

std::optional<Pattern> RuleObject::pattern(std::string_view key, bool required, bool whole_by_default) {
  const PatternOptions options{.ignore_case = flag("ignore_case", false), .whole = flag("whole", whole_by_default)};
  if (!required && !has(key)) return std::nullopt;
  const std::string pattern = text(key);
  if (!has(key)) return std::nullopt;
  try {
    return Pattern(pattern, options);
  } catch (const InputError& failure) {
    std::string_view reason = failure.what();
    if (reason.starts_with("[rule] ")) reason.remove_prefix(7);
    mistake(fmt::format("\"{}\": {}", key, reason));
    return std::nullopt;
  }
}

RulePtr RuleObject::rule(std::string_view key) {
  const Json* found = find(key);
  return found == nullptr ? constant_rule(0) : read_rule(*found, path_of(key), scope_);
}

RulePtr RuleObject::rule_or(std::string_view key, double otherwise) {
  const Json* found = find(key, false);
  return found == nullptr ? constant_rule(otherwise) : read_rule(*found, path_of(key), scope_);
}

std::vector<RulePtr> RuleObject::rules(std::string_view key) {
  const Json* found = find(key);
  std::vector<RulePtr> rules;
  if (found == nullptr) return rules;
  if (!found->is_array() || found->empty()) {
    wrong(key, "a list of at least one rule", *found);
    return rules;
  }
  for (std::size_t i = 0; i < found->size(); ++i) {
    rules.push_back(read_rule((*found)[i], fmt::format("{}[{}]", path_of(key), i), scope_));
  }
  return rules;
}

ListPtr RuleObject::list(std::string_view key) {
  const Json* found = find(key);
  return found == nullptr ? read_list(Json::array(), path_of(key), scope_) : read_list(*found, path_of(key), scope_);
}

Table RuleObject::table(std::string_view key) {
  const std::string name = text(key);
  const auto found = scope_.tables.find(name);
  if (found != scope_.tables.end()) return found->second;
  if (has(key)) mistake(fmt::format("no table is called \"{}\"; {}", name, known(name, names_of(scope_.tables))));
  return {};
}

std::vector<RuleObject> RuleObject::objects(std::string_view key) {
  const Json* found = find(key);
  std::vector<RuleObject> objects;
  if (found == nullptr) return objects;
  if (!found->is_array() || found->empty() ||
      !std::ranges::all_of(*found, [](const Json& e) { return e.is_object(); })) {
    wrong(key, "a list of objects", *found);
    return objects;
  }
  for (std::size_t i = 0; i < found->size(); ++i) {
    objects.emplace_back((*found)[i], fmt::format("{}[{}]", path_of(key), i), scope_);
  }
  return objects;
}

std::optional<RuleObject> RuleObject::object(std::string_view key) {
  const Json* found = find(key, false);
  if (found == nullptr) return std::nullopt;
  if (!found->is_object()) {
    wrong(key, "an object", *found);
    return std::nullopt;
  }
  return std::optional<RuleObject>(std::in_place, *found, path_of(key), scope_);
}

void RuleObject::finish(std::string_view kind) {
  const std::vector<std::string_view> names(asked_.begin(), asked_.end());
  for (const auto& [key, value] : json_.items()) {
    if (!asked_.contains(key) && key != "comment") {
      mistake(fmt::format("\"{}\" is not a key of {}; {}", key, kind, known(key, names)));
    }
  }
}

}  // namespace rrhf::reward
