// Lists taken from texts, and the rules on them: one compares two: what was asked for with what was given.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "rrhf/core/error.h"
#include "rrhf/reward/numbers.h"
#include "rrhf/reward/rule_reader.h"

namespace rrhf::reward {
namespace {

// --- lists
// ------------------------------------------------------------------------------------------------------------

Items split(std::string_view text, const std::string& separator) {
  Items items;
  if (separator.empty()) return {std::string(text)};
  while (true) {
    const auto at = text.find(separator);
    items.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return items;
    text.remove_prefix(at + separator.size());
  }
}

// What the pattern's first group that took part captured, split; of sentences, in the first that matches.
class MatchList final : public List {
 public:
  MatchList(Pattern pattern, Side side, Place place, std::string separator)
      : pattern_(std::move(pattern)), side_(side), place_(place), separator_(std::move(separator)) {}

  std::optional<Items> items(const Subject& subject) const override {
    for (const std::string_view text : places(text_of(subject, side_), place_)) {
      const auto match = pattern_.find(text);
      if (!match) continue;
      for (std::size_t i = 1; i < match->groups.size(); ++i) {
        if (match->groups[i]) return split(*match->groups[i], separator_);
      }
    }
    return std::nullopt;
  }

 private:
  Pattern pattern_;
  Side side_;
  Place place_;
  std::string separator_;
};

ListPtr read_match(RuleObject& object) {
  auto pattern = object.pattern("pattern", true);
  const Side side = object.side();
  const Place place = object.place();
  std::string separator = object.text("split", "");
  if (!pattern) return read_list(Json::array(), object.path(), object.scope());
  if (pattern->groups() == 0) object.mistake("\"pattern\" needs a group, (...), around what the list holds");
  return std::make_shared<MatchList>(std::move(*pattern), side, place, std::move(separator));
}

// A list made of another, item by item or as a whole. Of nothing comes nothing.
class DerivedList final : public List {
 public:
  using Step = std::function<Items(Items)>;
  DerivedList(ListPtr of, Step step) : of_(std::move(of)), step_(std::move(step)) {}

  std::optional<Items> items(const Subject& subject) const override {
    auto items = of_->items(subject);
    return items ? std::optional(step_(std::move(*items))) : std::nullopt;
  }

 private:
  ListPtr of_;
  Step step_;
};

ListPtr derived(RuleObject& object, DerivedList::Step step) {
  return std::make_shared<DerivedList>(object.list("of"), std::move(step));
}

Items mapped(Items items, const Table& table) {
  for (auto& item : items) {
    const auto found = item ? table.find(*item) : table.end();
    item = found == table.end() ? std::nullopt : std::optional(found->second);
  }
  return items;
}

// Later ones of equal items become nothing.
Items distinct(Items items) {
  std::set<std::string> seen;
  for (auto& item : items) {
    if (item && !seen.insert(*item).second) item = std::nullopt;
  }
  return items;
}

// The items whose entry in the table no other item has.
Items odd_ones(Items items, const Table& table) {
  const Items kinds = mapped(items, table);
  Items odd;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (kinds[i] && std::ranges::count(kinds, kinds[i]) == 1) odd.push_back(items[i]);
  }
  return odd;
}

// Each item is taken apart into a number and a word, and becomes that many of the word.
Items expanded(const Items& items, const Pattern& pattern, std::size_t count_group, std::size_t item_group) {
  constexpr double most = 1000;
  Items result;
  for (const auto& item : items) {
    const auto match = item ? pattern.find(*item) : std::nullopt;
    const auto word = match ? match->groups[item_group] : std::nullopt;
    const auto count = match && match->groups[count_group] ? number_in(*match->groups[count_group]) : std::nullopt;
    if (!word || !count || *count < 0 || *count > most) {
      result.push_back(std::nullopt);
      continue;
    }
    result.insert(result.end(), static_cast<std::size_t>(*count), std::string(*word));
  }
  return result;
}

ListPtr read_reverse(RuleObject& object) {
  return derived(object, [](Items items) {
    std::ranges::reverse(items);
    return items;
  });
}

ListPtr read_map(RuleObject& object) {
  return derived(object, [table = object.table("table")](Items items) { return mapped(std::move(items), table); });
}

ListPtr read_distinct(RuleObject& object) { return derived(object, distinct); }

ListPtr read_odd(RuleObject& object) {
  return derived(object, [table = object.table("table")](Items items) { return odd_ones(std::move(items), table); });
}

ListPtr read_expand(RuleObject& object) {
  auto pattern = object.pattern("pattern", true, /*whole_by_default=*/true);
  const auto count = pattern ? pattern->group_named("count") : std::nullopt;
  const auto item = pattern ? pattern->group_named("item") : std::nullopt;
  if (pattern && (!count || !item)) object.mistake("\"pattern\" needs the groups (?<count>...) and (?<item>...)");
  if (!count || !item) return derived(object, [](Items items) { return items; });
  return derived(object, [pattern = std::move(*pattern), count = *count, item = *item](const Items& items) {
    return expanded(items, pattern, count, item);
  });
}

constexpr std::array list_table{ListKind{"match", read_match},       ListKind{"reverse", read_reverse},
                                ListKind{"map", read_map},           ListKind{"expand", read_expand},
                                ListKind{"distinct", read_distinct}, ListKind{"odd", read_odd}};

// --- share
// ------------------------------------------------------------------------------------------------------------

enum class Order { place, any, equal };

// How many items of `given` are wanted, each wanted one used up once; in place: at their own index.
std::size_t hits(const Items& wanted, const Items& given, Order order) {
  std::size_t count = 0;
  if (order != Order::any) {
    for (std::size_t i = 0; i < std::min(wanted.size(), given.size()); ++i) count += wanted[i] && wanted[i] == given[i];
    return count;
  }
  std::map<std::string, std::size_t> left;
  for (const auto& item : wanted) {
    if (item) ++left[*item];
  }
  for (const auto& item : given) {
    const auto found = item ? left.find(*item) : left.end();
    if (found == left.end() || found->second == 0) continue;
    --found->second;
    ++count;
  }
  return count;
}

class ShareRule final : public Rule {
 public:
  ShareRule(ListPtr wanted, ListPtr given, Order order)
      : wanted_(std::move(wanted)), given_(std::move(given)), order_(order) {}

  double value(const Subject& subject) const override {
    const auto wanted = wanted_->items(subject), given = given_->items(subject);
    if (!wanted || !given) return 0;
    const std::size_t longest = std::max(wanted->size(), given->size());
    if (longest == 0) return 1;
    const std::size_t count = hits(*wanted, *given, order_);
    if (order_ == Order::equal) return count == longest;
    return static_cast<double>(count) / static_cast<double>(longest);
  }

 private:
  ListPtr wanted_, given_;
  Order order_;
};

RulePtr read_share(RuleObject& object) {
  constexpr std::array<std::string_view, 3> orders{"in place", "any order", "equal"};
  ListPtr wanted = object.list("wanted"), given = object.list("given");
  return std::make_shared<ShareRule>(std::move(wanted), std::move(given),
                                     static_cast<Order>(object.word("match", orders)));
}

// 1 where the text has the list, 0 where it has not.
class FoundRule final : public Rule {
 public:
  explicit FoundRule(ListPtr of) : of_(std::move(of)) {}
  double value(const Subject& subject) const override { return of_->items(subject).has_value(); }

 private:
  ListPtr of_;
};

RulePtr read_found(RuleObject& object) { return std::make_shared<FoundRule>(object.list("of")); }

constexpr std::array share_kinds{RuleKind{"share", read_share}, RuleKind{"found", read_found}};

}  // namespace

std::span<const ListKind> list_kinds() { return list_table; }

std::span<const RuleKind> list_rules() { return share_kinds; }

}  // namespace rrhf::reward
