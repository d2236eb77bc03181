#include "rrhf/data/row_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <functional>

#include "rrhf/core/unicode.h"

namespace rrhf::data {
namespace {

bool is_finite_number(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }
bool is_string(const Json& value) { return value.is_string(); }

std::string wrong_type(const std::string& path, const Json& value, std::string_view needed) {
  return fmt::format("{} is {}; {} is needed", path, shorten(describe(value), 60), needed);
}

// The elements as T. The first that does not fit is named, further ones are counted.
template <class T>
std::vector<T> collect(const Json& array, const std::string& path, bool (*fits)(const Json&), std::string_view needed,
                       const std::function<void(std::string)>& note) {
  std::vector<T> values;
  std::size_t first_bad = array.size();
  std::size_t bad = 0;
  for (std::size_t i = 0; i < array.size(); ++i) {
    if (fits(array[i])) {
      values.push_back(array[i].get<T>());
    } else {
      first_bad = std::min(first_bad, i);
      ++bad;
      values.emplace_back();
    }
  }
  if (bad > 0) {
    const std::string message = wrong_type(fmt::format("{}[{}]", path, first_bad), array[first_bad], needed);
    note(bad == 1 ? message : fmt::format("{} (and {} more of its elements)", message, bad - 1));
  }
  return values;
}

}  // namespace

std::string list_keys(const Json& object) {
  constexpr std::size_t most = 12;
  std::string list;
  std::size_t count = 0;
  for (auto at = object.begin(); at != object.end() && count < most; ++at, ++count) {
    list += (list.empty() ? "" : ", ") + shorten(at.key(), 40);
  }
  if (object.size() > most) list += fmt::format(" and {} more", object.size() - most);
  return list.empty() ? "none" : list;
}

std::string RowFields::path(std::string_view key) const { return fmt::format("{}\"{}\"", prefix_, key); }

bool RowFields::has(std::string_view key) const {
  const auto at = row_.find(std::string(key));
  return at != row_.end() && !at->is_null();
}

bool RowFields::has_array(std::string_view key) const {
  const auto at = row_.find(std::string(key));
  return at != row_.end() && at->is_array();
}

bool RowFields::has_string(std::string_view key) const {
  const auto at = row_.find(std::string(key));
  return at != row_.end() && at->is_string();
}

const Json* RowFields::find(std::string_view key) {
  const auto at = row_.find(std::string(key));
  if (at != row_.end()) return &*at;
  missing_.push_back(path(key));
  return nullptr;
}

const Json* RowFields::array(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr || value->is_array()) return value;
  note(wrong_type(path(key), *value, "an array"));
  return nullptr;
}

std::string RowFields::string(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return {};
  if (value->is_string()) return value->get<std::string>();
  note(wrong_type(path(key), *value, "a string"));
  return {};
}

double RowFields::number(std::string_view key) {
  const Json* value = find(key);
  if (value == nullptr) return 0;
  if (is_finite_number(*value)) return value->get<double>();
  note(wrong_type(path(key), *value, "a finite number"));
  return 0;
}

std::vector<std::string> RowFields::strings(std::string_view key) {
  const Json* value = array(key);
  if (value == nullptr) return {};
  return collect<std::string>(*value, path(key), is_string, "a string", [this](std::string m) { note(std::move(m)); });
}

std::vector<double> RowFields::numbers(std::string_view key) {
  const Json* value = array(key);
  if (value == nullptr) return {};
  return collect<double>(*value, path(key), is_finite_number, "a finite number",
                         [this](std::string m) { note(std::move(m)); });
}

std::vector<const Json*> RowFields::elements(std::string_view key) {
  std::vector<const Json*> elements;
  if (const Json* value = array(key)) {
    for (const Json& element : *value) elements.push_back(&element);
  }
  return elements;
}

void RowFields::note_all(RowFields&& part) {
  for (std::string& mistake : std::move(part).mistakes()) note(std::move(mistake));
}

std::vector<std::string> RowFields::mistakes() && {
  if (!missing_.empty()) {
    std::string names;
    for (std::size_t i = 0; i < missing_.size(); ++i) {
      names += (i == 0 ? "" : i + 1 == missing_.size() ? " and " : ", ") + missing_[i];
    }
    mistakes_.insert(mistakes_.begin(), fmt::format("{} {} missing; the keys there are: {}", names,
                                                    missing_.size() == 1 ? "is" : "are", list_keys(row_)));
  }
  return std::move(mistakes_);
}

std::string not_finite_mistake(const Json& row) {
  const Json flat = row.flatten();  // {"/scores/0": 1.0, ...}
  for (const auto& [place, value] : flat.items()) {
    if (!value.is_number_float() || std::isfinite(value.get<double>())) continue;
    return fmt::format("{} is {}; a finite number or null is needed", shorten(place, 60), describe(value));
  }
  return {};
}

}  // namespace rrhf::data
