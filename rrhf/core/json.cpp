#include "rrhf/core/json.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "rrhf/core/error.h"
#include "rrhf/core/unicode.h"

namespace rrhf {
namespace {

bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

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
    } else if (c == 'N' || c == 'I' || c == '-') {
      for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
        if (text_.substr(at_, word.size()) != word) continue;
        result_ += "null";
        at_ += word.size();
        return;
      }
    }
    copy(1);
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
  if (const auto colon = text.find(": "); colon != std::string_view::npos) text.remove_prefix(colon + 2);
  return valid_utf8(text);
}

}  // namespace

Json parse_json_row(std::string_view text, JsonOptions options) {
  if (const std::size_t bad = find_invalid_utf8(text); bad != std::string_view::npos) {
    throw JsonSyntax("not valid UTF-8", bad);
  }
  const std::string prepared = Preparer(text, options).run();
  try {
    return Json::parse(prepared, nullptr, true, options.comments);
  } catch (const Json::parse_error& failure) {
    throw JsonSyntax(reason_of(failure), failure.byte > 0 ? failure.byte - 1 : 0);
  } catch (const Json::exception& failure) {
    throw JsonSyntax(reason_of(failure), 0);
  }
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
  if (value.is_null()) return "null (or NaN)";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number()) return fmt::format("the number {}", value.dump());
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  return "an object";
}

void ArraySplitter::close_element(std::vector<Element>& out) {
  while (!current_.text.empty() && is_json_space(current_.text.back())) current_.text.pop_back();
  out.push_back(std::move(current_));
  current_ = {};
  any_ = true;
}

void ArraySplitter::feed(std::string_view bytes, std::vector<Element>& out) {
  for (const char c : bytes) {
    const std::size_t here = position_++;
    if (state_ == State::in_element) {
      if (in_string_) {
        if (escaped_) {
          escaped_ = false;
        } else if (c == '\\') {
          escaped_ = true;
        } else if (c == '"') {
          in_string_ = false;
        }
        current_.text += c;
        continue;
      }
      if (depth_ == 0 && (c == ',' || c == ']')) {
        close_element(out);
        state_ = c == ',' ? State::before_element : State::done;
        continue;
      }
      if (c == '"') in_string_ = true;
      if (c == '[' || c == '{') ++depth_;
      if (c == ']' || c == '}') --depth_;
      if (depth_ > max_json_depth) {
        throw JsonSyntax(fmt::format("nested deeper than {} levels", max_json_depth), here);
      }
      current_.text += c;
      continue;
    }
    if (is_json_space(c)) continue;
    if (state_ == State::before_array) {
      if (c != '[') throw JsonSyntax("expected an array", here);
      state_ = State::before_element;
    } else if (state_ == State::done) {
      throw JsonSyntax("text after the end of the array", here);
    } else if (c == ']' && !any_) {
      state_ = State::done;
    } else if (c == ',' || c == ']') {
      throw JsonSyntax("expected a value", here);
    } else {
      state_ = State::in_element;
      current_.byte = here;
      current_.text += c;
      in_string_ = c == '"';
      depth_ = c == '[' || c == '{' ? 1 : 0;
    }
  }
}

}  // namespace rrhf
