// Typed access to the keys of one JSON row. Everything that is wrong is noted, nothing is thrown, so that a person
// learns of all mistakes of a row at once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rrhf/core/json.h"

namespace rrhf::data {

/// Reads the fields of one object. The getters give an empty value and note a mistake when a field is missing or of
/// another type. Holds references: `row` must outlive it.
class RowFields {
 public:
  /// `prefix` stands before the keys in messages: "" for a row, "\"list\"[2]." for an element.
  explicit RowFields(const Json& row, std::string prefix = "") : row_(row), prefix_(std::move(prefix)) {}

  /// Whether an optional key is given: there and not null.
  bool has(std::string_view key) const;
  bool has_array(std::string_view key) const;
  bool has_string(std::string_view key) const;

  std::string string(std::string_view key);
  double number(std::string_view key);
  std::vector<std::string> strings(std::string_view key);
  std::vector<double> numbers(std::string_view key);

  /// The array's elements as they are; they live as long as the row.
  std::vector<const Json*> elements(std::string_view key);

  void note(std::string mistake) { mistakes_.push_back(std::move(mistake)); }

  /// Takes over what was noted for a part of this row.
  void note_all(RowFields&& part);

  /// All mistakes; missing keys are one line that names the keys there are.
  std::vector<std::string> mistakes() &&;

 private:
  const Json* find(std::string_view key);
  const Json* array(std::string_view key);
  std::string path(std::string_view key) const;

  const Json& row_;
  std::string prefix_;
  std::vector<std::string> missing_;
  std::vector<std::string> mistakes_;
};

/// What is wrong with a row that is to be written again, "" where nothing is: JSON has no NaN and no infinity, which
/// Python writes.
std::string not_finite_mistake(const Json& row);

/// "query, responses, scores": at most 12 keys of an object, each shortened.
std::string list_keys(const Json& object);

}  // namespace rrhf::data
