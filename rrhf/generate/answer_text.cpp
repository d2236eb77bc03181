#include "rrhf/generate/answer_text.h"

#include <algorithm>

namespace rrhf::generate {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD stands for a character that is not complete

// Tokens that leave nothing in a text must not stand where a word's leading space would be taken for the text's.
bool leaves_nothing(const text::Tokenizer& tokenizer, std::int32_t id) {
  const std::span one(&id, 1);
  return tokenizer.decode(one).empty() && !tokenizer.decode(one, /*skip_special=*/false).empty();
}

}  // namespace

std::string_view AnswerText::add(std::int32_t id) {
  if (leaves_nothing(*tokenizer_, id)) return {};
  window_.push_back(id);
  const std::string whole = tokenizer_->decode(window_);
  if (whole.ends_with(replacement)) return {};
  const std::size_t before = tokenizer_->decode(std::span(window_).first(known_)).size();
  const std::size_t first_new = text_.size();
  text_ += std::string_view(whole).substr(std::min(before, whole.size()));
  const bool visible =
      tokenizer_->decode(std::span(window_).subspan(known_)).find_first_not_of(' ') != std::string::npos;
  // Spaces at the window's beginning would be dropped as a text's leading ones are.
  if (visible) window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(known_));
  known_ = window_.size();
  cut_at_stop(first_new);
  return certain(stopped_ ? text_.size() : text_.size() - undecided());
}

std::string_view AnswerText::finish() {
  if (!stopped_ && known_ < window_.size()) {
    const std::string whole = tokenizer_->decode(window_);
    const std::size_t before = tokenizer_->decode(std::span(window_).first(known_)).size();
    text_ += std::string_view(whole).substr(std::min(before, whole.size()));
    known_ = window_.size();
  }
  return certain(text_.size());
}

std::string_view AnswerText::certain(std::size_t end) {
  const std::size_t begin = std::min(given_, end);
  given_ = end;
  return std::string_view(text_).substr(begin, end - begin);
}

void AnswerText::cut_at_stop(std::size_t first_new) {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    // It may have begun before, but was not complete.
    const std::size_t from = first_new - std::min(first_new, stop.size() - 1);
    first = std::min(first, text_.find(stop, from));
  }
  if (first == std::string::npos) return;
  text_.resize(first);
  stopped_ = true;
}

// How much of the end may be the beginning of a stop string.
std::size_t AnswerText::undecided() const {
  std::size_t most = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t size = std::min(stop.size() - 1, text_.size()); size > most; --size) {
      if (text_.ends_with(std::string_view(stop).substr(0, size))) most = size;
    }
  }
  return most;
}

}  // namespace rrhf::generate
