#include "rrhf/core/json.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"

namespace rrhf {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The code unit of the \uXXXX escape at `at`, or -1.
int escaped_unit(std::string_view text, std::size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return -1;
  int unit = 0;
  for (std::size_t i = 2; i < 6; ++i) {
    const int digit = hex_digit(text[at + i]);
    if (digit < 0) return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

bool is_high(int unit) { return unit >= 0xd800 && unit <= 0xdbff; }
bool is_low(int unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

// How a number that is not finite passes through the library: as a spelling of zero, which no other number of the
// prepared text has. Each is no longer than what it stands for.
struct NotFinite {
  std::string_view word;
  std::string_view spelling;
  double value;
};
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr std::array not_finite{NotFinite{"NaN", "0e1", std::numeric_limits<double>::quiet_NaN()},
                                NotFinite{"Infinity", "0e2", infinity}, NotFinite{"-Infinity", "0e3", -infinity}};

bool is_number_character(char c) {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

// One pass over the text before the library sees it: bounds the depth and rewrites what Python writes and JSON lacks.
// The result has the same length wherever that is possible, so that the library's byte offsets stay right.
class Preparer {
 public:
  Preparer(std::string_view text, JsonOptions options) : text_(text), options_(options) {}

  std::string run() {
    result_.reserve(text_.size());
    while (at_ < text_.size()) step();
    return std::move(result_);
  }

 private:
  void step() {
    const char c = text_[at_];
    if (c == '"') return copy_string();
    if (options_.comments && c == '/' && at_ + 1 < text_.size()) return copy_comment();
    if (c == '[' || c == '{') {
      if (++depth_ > max_json_depth) {
        throw JsonSyntax(fmt::format("nested deeper than {} levels", max_json_depth), at_);
      }
    } else if (c == ']' || c == '}') {
      --depth_;
    } else if (c == 'N' || c == 'I' || is_number_character(c)) {
      return number();
    }
    copy(1);
  }

  // A word beside other letters or digits is no number; replaced, it would become part of one.
  bool stands_alone(std::size_t length) const {
    const auto joins = [](char c) {
      return is_number_character(c) || std::isalpha(static_cast<unsigned char>(c)) != 0;
    };
    return (at_ == 0 || !joins(text_[at_ - 1])) && (at_ + length >= text_.size() || !joins(text_[at_ + length]));
  }

  void number() {
    for (const NotFinite& special : not_finite) {
      const std::size_t size = special.word.size();
      if (text_.substr(at_, size) == special.word && stands_alone(size)) return replace(special, size);
    }
    std::size_t length = 1;
    while (at_ + length < text_.size() && is_number_character(text_[at_ + length])) ++length;
    const std::string token(text_.substr(at_, length));
    const bool may_overflow = length > 300 || token.find_first_of("eE") != std::string::npos;
    if (!may_overflow) return copy(length);
    char* end = nullptr;
    const double value = std::strtod(token.c_str(), &end);
    const bool whole = end == token.c_str() + length;
    if (whole && std::isinf(value)) return replace(not_finite[value > 0 ? 1 : 2], length);
    if (whole && value == 0 && token.starts_with("0e")) {  // a spelling that stands for something else here
      result_.append(length - 3, ' ');
      result_ += "0.0";
      at_ += length;
      return;
    }
    copy(length);
  }

  void replace(const NotFinite& special, std::size_t length) {
    result_.append(length - special.spelling.size(), ' ');
    result_ += special.spelling;
    at_ += length;
  }

  void copy_string() {
    copy(1);
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] != '\\') {
        copy(1);
        continue;
      }
      const int unit = escaped_unit(text_, at_);
      if (is_high(unit) && is_low(escaped_unit(text_, at_ + 6))) {
        copy(12);
      } else if (is_high(unit) || is_low(unit)) {
        result_ += "\\ufffd";
        at_ += 6;
      } else {
        copy(2);
      }
    }
    copy(1);
  }

  void copy_comment() {
    const bool block = text_[at_ + 1] == '*';
    if (!block && text_[at_ + 1] != '/') return copy(1);
    const std::size_t end = text_.find(block ? "*/" : "\n", at_ + 2);
    copy(end == std::string_view::npos ? text_.size() - at_ : end - at_ + (block ? 2 : 1));
  }

  void copy(std::size_t count) {
    result_ += text_.substr(at_, count);
    at_ = std::min(text_.size(), at_ + count);
  }

  std::string_view text_;
  JsonOptions options_;
  std::string result_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

// The library's message without its own name and position: "syntax error while parsing value - unexpected end of
// input".
std::string reason_of(const nlohmann::json::exception& failure) {
  std::string_view text = failure.what();
  if (const auto bracket = text.find("] "); text.starts_with('[') && bracket != text.npos)
    text.remove_prefix(bracket + 2);
  if (const auto colon = text.find(": "); colon != text.npos) text.remove_prefix(colon + 2);
  return valid_utf8(text);
}

// Builds the value as the library reads it. Its own builder takes the last of several equal keys without a word.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(std::string_view text, JsonOptions options) : text_(text), options_(options) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    for (const NotFinite& special : not_finite) {
      if (text == special.spelling) return add(special.value);
    }
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Json& object = *open_.back();
    const std::size_t keys = object.size();
    slot_ = &object[name];
    if (object.size() == keys && !options_.repeated_keys) {
      const std::size_t last = text_.rfind(fmt::format("\"{}\"", name));  // npos where it is written with escapes
      throw JsonSyntax(fmt::format("the key \"{}\" is given twice", shorten(name, 40)), last == text_.npos ? 0 : last);
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& failure) override {
    throw JsonSyntax(reason_of(failure), position > 0 ? position - 1 : 0);
  }

 private:
  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  Json* place(Json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(*slot_ = std::move(value));
  }

  bool open(Json empty) {
    open_.push_back(place(std::move(empty)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  JsonOptions options_;
  Json root_;
  std::vector<Json*> open_;  // no container that holds one of them grows while it is open
  Json* slot_ = nullptr;     // where the value of the last key goes
};

}  // namespace

Json parse_json_row(std::string_view text, JsonOptions options) {
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    throw JsonSyntax("not valid UTF-8", bad);
  }
  // The library takes a NUL for the end of the text; what comes behind it would be passed over.
  if (const std::size_t nul = text.find('\0'); nul != text.npos) throw JsonSyntax("a NUL byte", nul);
  const std::string prepared = Preparer(text, options).run();
  Builder builder(prepared, options);
  Json::sax_parse(prepared, &builder, Json::input_format_t::json, true, options.comments);
  return builder.take();
}

Json parse_json(std::string_view text, std::string_view operation, std::string_view where, JsonOptions options) {
  try {
    return parse_json_row(text, options);
  } catch (const JsonSyntax& failure) {
    const std::string_view before = text.substr(0, std::min(failure.byte(), text.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const auto newline = before.rfind('\n');
    const auto column = newline == std::string_view::npos ? before.size() + 1 : before.size() - newline;
    throw_input(operation, "{}: not JSON: {} (line {}, column {})", where, failure.reason(), line, column);
  }
}

namespace {

void require_finite(const Json& value) {
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    throw_error("json", "a number that is not finite can't be written as JSON");
  }
  if (value.is_structured()) {
    for (const Json& element : value) require_finite(element);
  }
}

}  // namespace

std::string dump_json(const Json& value, int indent) {
  require_finite(value);
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string describe(const Json& value) {
  if (value.is_null()) return "null";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const auto number = value.get<double>();
    return std::isnan(number) ? "NaN"
           : number > 0       ? "Infinity (or beyond what a double holds)"
                              : "-Infinity (or beyond what a double holds)";
  }
  if (value.is_number()) return fmt::format("the number {}", value.dump());
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  return "an object";
}

}  // namespace rrhf
