#include "rrhf/core/error.h"
#include "rrhf/core/json.h"

namespace rrhf {
namespace {

bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

}  // namespace

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
