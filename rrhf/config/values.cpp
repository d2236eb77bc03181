#include "rrhf/config/values.h"

#include <fmt/format.h>

#include <cmath>

namespace rrhf::config {
namespace {

std::optional<std::int64_t> whole_number(const Json& json) {
  if (json.is_number_unsigned() &&
      json.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    return std::nullopt;
  }
  if (json.is_number_integer()) return json.get<std::int64_t>();
  if (!json.is_number_float()) return std::nullopt;
  const double value = json.get<double>();
  constexpr double exact = 9007199254740992.0;  // 2^53: beyond it a double no longer says which whole number is meant
  if (value != std::floor(value) || std::abs(value) > exact) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::string whole_number_kind(std::int64_t least, std::int64_t most) {
  const std::string kind = fmt::format("a whole number, at least {}", least);
  return most == unbounded ? kind : fmt::format("{} and at most {}", kind, most);
}

// A plain string is a list of one, the empty string a list of none.
Value list_of(std::vector<std::string>& field, std::string kind) {
  const auto read = [&field](const Json& json) {
    std::vector<std::string> given;
    if (json.is_string()) {
      if (!json.get<std::string>().empty()) given.push_back(json.get<std::string>());
    } else if (json.is_array()) {
      for (const Json& element : json) {
        if (!element.is_string() || element.get<std::string>().empty()) return false;
        given.push_back(element.get<std::string>());
      }
    } else {
      return false;
    }
    field = std::move(given);
    return true;
  };
  return {std::move(kind), read, [&field] { return Json(field); }};
}

std::optional<double> number_in(const Range& range, const Json& json) {
  if (!json.is_number()) return std::nullopt;
  const double value = json.get<double>();
  return range.holds(value) ? std::optional(value) : std::nullopt;
}

}  // namespace

bool Range::holds(double number) const {
  return std::isfinite(number) && !(least && number < *least) && !(above && number <= *above) &&
         !(most && number > *most) && !(below && number >= *below);
}

std::string Range::words() const {
  std::string result;
  const auto add = [&result](std::string_view what, const std::optional<double>& bound) {
    if (bound) result += fmt::format("{}{} {}", result.empty() ? ", " : " and ", what, *bound);
  };
  add("at least", least);
  add("above", above);
  add("at most", most);
  add("below", below);
  return result;
}

Value flag(bool& field) {
  const auto read = [&field](const Json& json) {
    if (json.is_boolean()) field = json.get<bool>();
    return json.is_boolean();
  };
  return {"true or false", read, [&field] { return Json(field); }};
}

Value number(double& field, Range range) {
  const auto read = [&field, range](const Json& json) {
    const auto value = number_in(range, json);
    if (value) field = *value;
    return value.has_value();
  };
  return {"a number" + range.words(), read, [&field] { return Json(field); }};
}

Value number_pair(std::array<double, 2>& field, Range range) {
  const auto read = [&field, range](const Json& json) {
    if (!json.is_array() || json.size() != 2) return false;
    const auto first = number_in(range, json[0]);
    const auto second = number_in(range, json[1]);
    if (!first || !second) return false;
    field = {*first, *second};
    return true;
  };
  return {"two numbers" + range.words(), read, [&field] { return Json(field); }};
}

Value integer(std::int64_t& field, std::int64_t least, std::int64_t most) {
  const auto read = [&field, least, most](const Json& json) {
    const auto value = whole_number(json);
    if (!value || *value < least || *value > most) return false;
    field = *value;
    return true;
  };
  return {whole_number_kind(least, most), read, [&field] { return Json(field); }};
}

Value integer_or(std::optional<std::int64_t>& field, std::int64_t least, std::string_view word, std::int64_t most) {
  const auto read = [&field, least, most, word](const Json& json) {
    const auto value = whole_number(json);
    const bool absent = json.is_null() || (json.is_string() && json.get<std::string>() == word);
    if (!absent && (!value || *value < least || *value > most)) return false;
    field = value;
    return true;
  };
  const auto write = [&field, word] {
    if (field) return Json(*field);
    return word == "none" ? Json() : Json(std::string(word));
  };
  return {fmt::format("{}, or {}", whole_number_kind(least, most), word), read, write};
}

Value text(std::string& field, Empty empty) {
  const auto read = [&field, empty](const Json& json) {
    if (!json.is_string() || (empty == Empty::refused && json.get<std::string>().empty())) return false;
    field = json.get<std::string>();
    return true;
  };
  return {empty == Empty::refused ? "a text that is not empty" : "a text", read, [&field] { return Json(field); }};
}

Value word(std::string& field, std::vector<std::string> words) {
  const std::string kind = words.empty() ? "a word" : fmt::format("{}", fmt::join(words, " | "));
  const auto read = [&field, words = std::move(words)](const Json& json) {
    if (!json.is_string()) return false;
    const auto given = json.get<std::string>();
    if (!words.empty() && std::find(words.begin(), words.end(), given) == words.end()) return false;
    field = given;
    return true;
  };
  return {kind, read, [&field] { return Json(field); }};
}

Value natural(std::uint64_t& field) {
  const auto read = [&field](const Json& json) {
    if (json.is_number_unsigned()) {
      field = json.get<std::uint64_t>();
      return true;
    }
    const auto value = whole_number(json);
    if (!value || *value < 0) return false;
    field = static_cast<std::uint64_t>(*value);
    return true;
  };
  return {"a whole number, at least 0", read, [&field] { return Json(field); }};
}

Value paths(std::vector<std::string>& field) { return list_of(field, "a path or a list of paths"); }

Value texts(std::vector<std::string>& field) { return list_of(field, "a text or a list of texts"); }

}  // namespace rrhf::config
