// Rewards by rule: a number computed from a query, a response and what else the row carries (docs/rewards.md).
//
// A rule file is a tree of rules in JSON. Each kind is a small class here with a value; a list is a side result (the
// words asked for, the words given) that rules compare.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/json.h"

namespace rrhf::reward {

/// What a rule looks at. Valid UTF-8 both.
struct Subject {
  std::string_view query;
  std::string_view response;
  const Json& row;  ///< the whole row, for reference fields
};

/// Immutable: const calls are safe from several threads.
class Rule {
 public:
  virtual ~Rule() = default;

  /// A finite number. Throws InputError when the row lacks what the rule needs, or a pattern gives up.
  virtual double value(const Subject& subject) const = 0;

  /// As a condition: true above 0.
  bool holds(const Subject& subject) const { return value(subject) > 0; }
};
using RulePtr = std::shared_ptr<const Rule>;

/// An item that is nothing equals no other item, not even another nothing; it still takes a place in its list.
using Items = std::vector<std::optional<std::string>>;

/// Immutable: const calls are safe from several threads.
class List {
 public:
  virtual ~List() = default;

  /// The items, or nothing where the text has no such list (which is not the same as an empty one).
  virtual std::optional<Items> items(const Subject& subject) const = 0;
};
using ListPtr = std::shared_ptr<const List>;

}  // namespace rrhf::reward
