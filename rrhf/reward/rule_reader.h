// Reading rules from JSON: one object at a time, every mistake noted, so that a person learns of all of them at once.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/json.h"
#include "rrhf/reward/pattern.h"
#include "rrhf/reward/rule.h"
#include "rrhf/reward/text_parts.h"
#include "rrhf/text/tokenizer.h"

namespace rrhf::reward {

using Table = std::map<std::string, std::string>;

/// What the rules of one file share while they are read.
struct RuleScope {
  const text::Tokenizer* tokenizer = nullptr;  ///< null: no rule may count tokens
  std::map<std::string, Table> tables;
  std::map<std::string, ListPtr> lists;  ///< defined so far
  std::map<std::string, RulePtr> rules;
  std::vector<std::string> mistakes;
};

/// The keys of one rule or list. The getters note a mistake and return a harmless value when a key is missing or of
/// another type. The destructor does nothing: call finish().
class RuleObject {
 public:
  /// `path` names the object in messages: "score.of[1]".
  RuleObject(const Json& object, std::string path, RuleScope& scope)
      : json_(object), path_(std::move(path)), scope_(scope) {}

  bool has(std::string_view key) const { return json_.contains(key); }

  std::string text(std::string_view key, std::optional<std::string> otherwise = std::nullopt);
  double number(std::string_view key, std::optional<double> otherwise = std::nullopt);
  std::optional<double> maybe_number(std::string_view key);
  std::int64_t whole(std::string_view key, std::int64_t otherwise, std::int64_t least);
  bool flag(std::string_view key, bool otherwise);
  std::vector<double> numbers(std::string_view key);

  /// The index of the word among `words`; the first is the default.
  std::size_t word(std::string_view key, std::span<const std::string_view> words);
  Side side();    ///< "in": response | query
  Place place();  ///< "where": anywhere | sentences | first sentence | last sentence

  /// The pattern of a key, with the object's "ignore_case" and "whole". Null when there is none, or a mistake in it.
  std::optional<Pattern> pattern(std::string_view key, bool required, bool whole_by_default = false);

  RulePtr rule(std::string_view key);
  RulePtr rule_or(std::string_view key, double otherwise);
  std::vector<RulePtr> rules(std::string_view key);
  ListPtr list(std::string_view key);
  Table table(std::string_view key);

  /// The element of an array as an object of its own.
  std::vector<RuleObject> objects(std::string_view key);
  /// The object of a key, or nothing when the key is absent.
  std::optional<RuleObject> object(std::string_view key);

  /// Looks for keys that nobody asked for. `kind` names the object: "rule length".
  void finish(std::string_view kind);

  void mistake(std::string message);
  RuleScope& scope() { return scope_; }
  const std::string& path() const { return path_; }
  const Json& json() const { return json_; }

 private:
  const Json* find(std::string_view key, bool required = true);
  template <class Kind>
  void wrong(std::string_view key, Kind kind, const Json& found);
  std::string path_of(std::string_view key) const;

  const Json& json_;
  std::string path_;
  RuleScope& scope_;
  std::set<std::string, std::less<>> asked_;
};

/// A rule from JSON: an object with "rule", a number (that constant), or the name of a rule defined above.
/// Never null: a mistake is noted and a constant stands in.
RulePtr read_rule(const Json& json, const std::string& path, RuleScope& scope);

/// A list from JSON: an object with "list", an array of texts, or the name of a list defined above. Never null.
ListPtr read_list(const Json& json, const std::string& path, RuleScope& scope);

/// One kind of rule or list. To add one: write its class and its reader beside the others of its file, and its line in
/// that file's table.
struct RuleKind {
  std::string_view name;
  RulePtr (*read)(RuleObject& object);
};
struct ListKind {
  std::string_view name;
  ListPtr (*read)(RuleObject& object);
};
std::span<const RuleKind> text_rules();
std::span<const RuleKind> combining_rules();
std::span<const RuleKind> list_rules();
std::span<const RuleKind> arithmetic_rules();
std::span<const ListKind> list_kinds();

RulePtr constant_rule(double value);

}  // namespace rrhf::reward
