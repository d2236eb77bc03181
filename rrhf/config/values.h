// The kinds of value a setting can have: how each is read from JSON, written back and described to a person.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/choices.h"
#include "rrhf/core/json.h"

namespace rrhf::config {

/// A field of one RunConfig together with its kind. Refers to the field: valid while the RunConfig lives.
struct Value {
  std::string kind;                       ///< completes "KEY must be ...", e.g. "a number, at least 0"
  std::function<bool(const Json&)> read;  ///< sets the field, or leaves it alone and returns false
  std::function<Json()> write;            ///< what read() takes to give the same field
};

/// The numbers allowed. `above` and `below` leave the bound itself out.
struct Range {
  std::optional<double> least{}, above{}, most{}, below{};

  bool holds(double number) const;
  std::string words() const;  ///< "", or ", at least 0 and below 1"
};

Value flag(bool& field);
Value number(double& field, Range range = {});
Value number_pair(std::array<double, 2>& field, Range range = {});

/// A whole number; 2e4 and 3.0 count as whole. `most` keeps what is worked out from it within 64 bits.
inline constexpr std::int64_t unbounded = std::numeric_limits<std::int64_t>::max();
Value integer(std::int64_t& field, std::int64_t least, std::int64_t most = unbounded);

/// A whole number from 0 on.
Value natural(std::uint64_t& field);

/// A whole number, or the word (or null) for "not given". Written as the word unless that is "none": then as null.
Value integer_or(std::optional<std::int64_t>& field, std::int64_t least, std::string_view word,
                 std::int64_t most = unbounded);

enum class Empty { allowed, refused };
Value text(std::string& field, Empty empty);

/// One of the words; with no words known, any text.
Value word(std::string& field, std::vector<std::string> words);

/// A list of paths. A plain string is a list of one, the empty string a list of none.
Value paths(std::vector<std::string>& field);

/// The same for texts.
Value texts(std::vector<std::string>& field);

/// One of the words in core/choices.h, apart from those `without`.
template <class E>
Value choice(E& field, std::initializer_list<E> without = {}) {
  std::string words;
  std::vector<E> allowed;
  for (const auto& [name, value] : Choices<E>::names) {
    if (std::find(without.begin(), without.end(), value) != without.end()) continue;
    words += (words.empty() ? "" : " | ") + std::string(name);
    allowed.push_back(value);
  }
  const auto read = [&field, allowed](const Json& json) {
    const auto named = json.is_string() ? choice_named<E>(json.get<std::string>()) : std::nullopt;
    if (!named || std::find(allowed.begin(), allowed.end(), *named) == allowed.end()) return false;
    field = *named;
    return true;
  };
  return {words, read, [&field] { return Json(std::string(name_of(field))); }};
}

/// A list of such words, each once, at least one; written in the order of core/choices.h, whatever order they are given
/// in.
template <class E>
Value choices(std::vector<E>& field) {
  const auto read = [&field](const Json& json) {
    std::vector<E> named;
    for (const auto& [name, value] : Choices<E>::names) {
      const auto count = json.is_array() ? std::count(json.begin(), json.end(), Json(std::string(name))) : 0;
      if (count > 1) return false;
      if (count == 1) named.push_back(value);
    }
    if (named.empty() || named.size() != json.size()) return false;
    field = named;
    return true;
  };
  const auto write = [&field] {
    Json list = Json::array();
    for (const E value : field) list.push_back(std::string(name_of(value)));
    return list;
  };
  return {"a list of " + choice_list<E>() + ", each once", read, write};
}

}  // namespace rrhf::config
