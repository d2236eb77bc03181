#include "rrhf/reward/numbers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace rrhf::reward {
namespace {

constexpr std::array<std::string_view, 20> small_words{
    "zero", "one",    "two",    "three",    "four",     "five",    "six",     "seven",     "eight",    "nine",
    "ten",  "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
constexpr std::array<std::string_view, 8> ten_words{"twenty", "thirty",  "forty",  "fifty",
                                                    "sixty",  "seventy", "eighty", "ninety"};
constexpr int deepest = 64;

struct Token {
  enum class Kind { number, operation, open, close, gap };  // gap: a word that no expression holds
  Kind kind = Kind::gap;
  double number = 0;
  char operation = 0;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80) != 0; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

template <std::size_t N>
std::optional<int> index_of(const std::array<std::string_view, N>& words, std::string_view word) {
  const auto found = std::ranges::find(words, word);
  return found == words.end() ? std::nullopt : std::optional(static_cast<int>(found - words.begin()));
}

// Cuts a text into tokens; white space leaves none.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) step();
    return std::move(tokens_);
  }

 private:
  void step() {
    const char c = text_[at_];
    if (is_digit(c) || (c == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) return take_digits();
    if (take_sign()) return;
    if (is_letter(c)) return take_word();
    ++at_;
    if (c != ' ' && c != '\t' && c != '\n' && c != '\r') tokens_.push_back({});
  }

  void take_digits() {
    std::string digits;
    bool point = false;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      const bool digit_follows = at_ + 1 < text_.size() && is_digit(text_[at_ + 1]);
      if (is_digit(c)) {
        digits += c;
      } else if (c == '.' && !point && digit_follows) {
        point = true;
        digits += c;
      } else if (!(c == ',' && !point && three_digits(at_ + 1))) {
        break;
      }
    }
    double value = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value, std::chars_format::fixed);
    // Beyond what a double holds: no number that an answer could be.
    tokens_.push_back(read.ec == std::errc() ? Token{Token::Kind::number, value} : Token{});
  }

  // A thousands group: three digits and no fourth.
  bool three_digits(std::size_t at) const {
    for (std::size_t i = at; i < at + 3; ++i) {
      if (i >= text_.size() || !is_digit(text_[i])) return false;
    }
    return at + 3 >= text_.size() || !is_digit(text_[at + 3]);
  }

  bool take_sign() {
    static constexpr std::array<std::pair<std::string_view, char>, 11> signs{{{"+", '+'},
                                                                              {"-", '-'},
                                                                              {"*", '*'},
                                                                              {"/", '/'},
                                                                              {"(", '('},
                                                                              {")", ')'},
                                                                              {"\u00d7", '*'},
                                                                              {"\u00f7", '/'},
                                                                              {"\u2212", '-'},
                                                                              {"\u00b7", '*'},
                                                                              {"\u2013", '-'}}};
    for (const auto& [sign, meaning] : signs) {
      if (text_.substr(at_, sign.size()) != sign) continue;
      at_ += sign.size();
      add_sign(meaning);
      return true;
    }
    return false;
  }

  void add_sign(char sign) {
    const auto kind = sign == '(' ? Token::Kind::open : sign == ')' ? Token::Kind::close : Token::Kind::operation;
    tokens_.push_back({kind, 0, sign});
  }

  std::string next_word() {
    std::string word;
    for (; at_ < text_.size() && is_letter(text_[at_]); ++at_) word += lower(text_[at_]);
    return word;
  }

  // Takes `word` if it stands next, after white space or a hyphen.
  template <class Accept>
  bool take_if(const Accept& accept, bool hyphen) {
    const std::size_t before = at_;
    if (at_ < text_.size() && (text_[at_] == ' ' || (hyphen && text_[at_] == '-'))) {
      ++at_;
      if (accept(next_word())) return true;
    }
    at_ = before;
    return false;
  }

  void take_word() {
    const std::string word = next_word();
    if (const auto number = index_of(small_words, word)) return add_number(*number);
    if (const auto tens = index_of(ten_words, word)) {
      int units = 0;
      take_if(
          [&](const std::string& next) {
            const auto found = index_of(small_words, next);
            units = found && *found >= 1 && *found <= 9 ? *found : 0;
            return units > 0;
          },
          true);
      return add_number(20 + 10 * *tens + units);
    }
    if (word == "plus") return add_sign('+');
    if (word == "minus") return add_sign('-');
    if (word == "times" || word == "x") return add_sign('*');
    if (word == "over") return add_sign('/');
    const bool by = word == "multiplied" || word == "divided";
    if (by && take_if([](const std::string& next) { return next == "by"; }, false))
      return add_sign(word[0] == 'm' ? '*' : '/');
    tokens_.push_back({});
  }

  void add_number(int value) { tokens_.push_back({Token::Kind::number, static_cast<double>(value)}); }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<Token> tokens_;
};

// Recursive descent over the tokens from one start: sums of products of signed numbers and brackets.
class Parser {
 public:
  Parser(const std::vector<Token>& tokens, std::size_t at) : tokens_(tokens), at_(at) {}

  std::optional<double> sum() {
    auto left = product();
    while (left && (next_is('+') || next_is('-'))) {
      const std::size_t before = at_;
      const char sign = tokens_[at_++].operation;
      const auto right = product();
      if (!right) {
        at_ = before;
        break;
      }
      ++operations_;
      left = sign == '+' ? *left + *right : *left - *right;
    }
    return left;
  }

  std::size_t end() const { return at_; }
  int operations() const { return operations_; }

 private:
  bool next_is(char sign) const {
    return at_ < tokens_.size() && tokens_[at_].kind != Token::Kind::number && tokens_[at_].operation == sign;
  }

  std::optional<double> product() {
    auto left = factor();
    while (left && (next_is('*') || next_is('/'))) {
      const std::size_t before = at_;
      const char sign = tokens_[at_++].operation;
      const auto right = factor();
      if (!right) {
        at_ = before;
        break;
      }
      ++operations_;
      left = sign == '*' ? *left * *right : *left / *right;
    }
    return left;
  }

  std::optional<double> factor() {
    const std::size_t before = at_;
    std::optional<double> value;
    if (at_ < tokens_.size() && depth_ < deepest) {
      ++depth_;
      if (tokens_[at_].kind == Token::Kind::number) {
        value = tokens_[at_++].number;
      } else if (next_is('-') || next_is('+')) {
        const char sign = tokens_[at_++].operation;
        value = factor();
        if (value && sign == '-') value = -*value;
      } else if (next_is('(')) {
        ++at_;
        value = sum();
        if (value && next_is(')')) {
          ++at_;
        } else {
          value = std::nullopt;
        }
      }
      --depth_;
    }
    if (!value) at_ = before;
    return value;
  }

  const std::vector<Token>& tokens_;
  std::size_t at_;
  int depth_ = 0;
  int operations_ = 0;
};

}  // namespace

std::optional<double> number_in(std::string_view text) {
  const std::vector<Token> tokens = Lexer(text).run();
  if (tokens.empty() || tokens.size() > 2 || tokens.back().kind != Token::Kind::number) return std::nullopt;
  if (tokens.size() == 1) return tokens[0].number;
  if (tokens[0].operation == '-') return -tokens[1].number;
  return tokens[0].operation == '+' ? std::optional(tokens[1].number) : std::nullopt;
}

std::optional<double> last_number(std::string_view text) {
  const std::vector<Token> tokens = Lexer(text).run();
  for (std::size_t i = tokens.size(); i-- > 0;) {
    if (tokens[i].kind != Token::Kind::number) continue;
    // "= -5" and "is -5" are below zero, "9-5" ends with 5.
    const bool sign = i > 0 && tokens[i - 1].operation == '-';
    const bool between =
        i > 1 && (tokens[i - 2].kind == Token::Kind::number || tokens[i - 2].kind == Token::Kind::close);
    return sign && !between ? -tokens[i].number : tokens[i].number;
  }
  return std::nullopt;
}

std::optional<double> expression_in(std::string_view text) {
  const std::vector<Token> tokens = Lexer(text).run();
  std::optional<double> value;
  for (std::size_t start = 0, longest = 0; start < tokens.size();) {
    Parser parser(tokens, start);
    const auto found = parser.sum();
    const std::size_t length = parser.end() - start;
    if (found && parser.operations() > 0 && length > longest) {
      longest = length;
      value = found;
    }
    // A shorter expression inside one that was read is not the question.
    start += found && parser.operations() > 0 ? length : 1;
  }
  return value && std::isfinite(*value) ? value : std::nullopt;
}

}  // namespace rrhf::reward
