#include "rrhf/config/key_scan.h"

#include <algorithm>

#include "rrhf/core/json.h"

namespace rrhf::config {
namespace {

// The position of the first character from `at` on that is neither white space nor inside a comment.
std::size_t skip_blank(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    if (std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos) {
      ++at;
    } else if (text.substr(at, 2) == "//") {
      at = std::min(text.find('\n', at), text.size());
    } else if (text.substr(at, 2) == "/*") {
      const std::size_t end = text.find("*/", at + 2);
      at = end == std::string_view::npos ? text.size() : end + 2;
    } else {
      break;
    }
  }
  return at;
}

std::size_t end_of_string(std::string_view text, std::size_t quote) {
  std::size_t at = quote + 1;
  while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
  return std::min(at + 1, text.size());
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::vector<KeyPlace> run() {
    for (at_ = skip_blank(text_, 0); at_ < text_.size(); at_ = skip_blank(text_, at_)) step();
    return std::move(found_);
  }

 private:
  struct Level {
    bool object;
    std::string prefix;  // what the paths of its keys begin with
  };

  void step() {
    const char c = text_[at_];
    if (c == '"') return string();
    if (c == '{' || c == '[') {
      open_.push_back({c == '{' && arrays_ == 0, open_.empty() ? "" : key_ + "."});
      arrays_ += c == '[';
      expect_key_ = open_.back().object;
    } else if (c == '}' || c == ']') {
      arrays_ -= c == ']';
      if (!open_.empty()) open_.pop_back();
      expect_key_ = false;
    } else if (c == ',') {
      expect_key_ = !open_.empty() && open_.back().object;
    }
    ++at_;
  }

  void string() {
    const std::size_t end = end_of_string(text_, at_);
    if (expect_key_) {
      key_ = open_.back().prefix + parse_json_row(text_.substr(at_, end - at_)).get<std::string>();
      const auto before = text_.substr(0, at_);
      found_.push_back({key_, 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'))});
      expect_key_ = false;
    }
    at_ = end;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Level> open_;
  int arrays_ = 0;  // how many of the open levels are arrays
  bool expect_key_ = false;
  std::string key_;
  std::vector<KeyPlace> found_;
};

}  // namespace

std::vector<KeyPlace> scan_keys(std::string_view text) { return Scanner(text).run(); }

bool is_blank(std::string_view text) { return skip_blank(text, 0) == text.size(); }

}  // namespace rrhf::config
