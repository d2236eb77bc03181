#include "rrhf/text/token_trie.h"

#include <algorithm>
#include <cstddef>

namespace rrhf::text {
namespace {

struct Characters {
  std::vector<std::uint32_t> values;  // each the UTF-8 bytes of one character
  std::vector<std::size_t> starts;    // byte offsets, and the text's size at the end
};

Characters characters_of(std::string_view text) {
  Characters result;
  for (std::size_t at = 0; at < text.size();) {
    result.starts.push_back(at);
    std::uint32_t value = static_cast<std::uint8_t>(text[at++]);
    while (at < text.size() && (static_cast<std::uint8_t>(text[at]) & 0xc0) == 0x80) {
      value = (value << 8) | static_cast<std::uint8_t>(text[at++]);
    }
    result.values.push_back(value);
  }
  result.starts.push_back(text.size());
  return result;
}

}  // namespace

// One pass over a text. Every place where a token might have begun is followed at once; when one of them is complete,
// the scan looks ahead for a longer token from it or from an earlier place, cuts there and starts anew behind it.
class TrieScan {
 public:
  TrieScan(const TokenTrie& trie, const std::vector<std::uint32_t>& text) : trie_(trie), text_(text) {}

  /// Begin and end of every token found, as character offsets.
  std::vector<std::size_t> cuts() {
    for (std::size_t at = 0; at < text_.size(); ++at) {
      if (at < resume_) continue;
      advance(at);
      if (const int node = trie_.child(0, text_[at]); node >= 0 && at >= resume_) open_.push_back({at, node});
    }
    for (const Open& open : open_) {
      if (!ends(open.node)) continue;
      cuts_.insert(cuts_.end(), {open.start, text_.size()});
      break;
    }
    return std::move(cuts_);
  }

 private:
  struct Open {
    std::size_t start;
    int node;
    bool failed = false;
  };

  bool ends(int node) const { return trie_.nodes_[static_cast<std::size_t>(node)].token_ends; }

  // Moves every open begin over the character at `at`.
  void advance(std::size_t at) {
    for (Open& open : open_) {
      if (ends(open.node)) {
        cut(open.start, at);
        open_.clear();
        return;
      }
      const int next = trie_.child(open.node, text_[at]);
      if (next >= 0) {
        open.node = next;
      } else {
        open.failed = true;
      }
    }
    std::erase_if(open_, [](const Open& open) { return open.failed; });
  }

  // A token that began at `start` is complete before `at`. Begins before `start` have taken in the character at `at`
  // already (or failed on it: transformers looks ahead from those as well, and so does this), the others have not.
  void cut(std::size_t start, std::size_t at) {
    std::size_t end = at;
    const auto found = [&](const Open& open, std::size_t behind) {
      start = open.start;
      end = resume_ = behind;
    };
    for (const Open& open : open_) {
      if (open.start > start) break;
      std::size_t behind = end = open.start < start ? at + 1 : at;
      int node = open.node;
      if (ends(node)) found(open, behind);
      while (behind < text_.size() && (node = trie_.child(node, text_[behind])) >= 0) {
        ++behind;
        if (ends(node)) found(open, behind);
      }
    }
    cuts_.insert(cuts_.end(), {start, end});
  }

  const TokenTrie& trie_;
  const std::vector<std::uint32_t>& text_;
  std::vector<Open> open_;  // by start, ascending
  std::vector<std::size_t> cuts_;
  std::size_t resume_ = 0;
};

int TokenTrie::child(int node, std::uint32_t character) const {
  const auto& next = nodes_[static_cast<std::size_t>(node)].next;
  const auto found = next.find(character);
  return found == next.end() ? -1 : found->second;
}

void TokenTrie::add(std::string_view token) {
  int node = 0;
  for (const std::uint32_t character : characters_of(token).values) {
    int next = child(node, character);
    if (next < 0) {
      next = static_cast<int>(nodes_.size());
      nodes_[static_cast<std::size_t>(node)].next[character] = next;
      nodes_.emplace_back();
    }
    node = next;
  }
  if (node != 0) nodes_[static_cast<std::size_t>(node)].token_ends = true;
}

std::vector<std::string> TokenTrie::split(std::string_view text) const {
  const Characters characters = characters_of(text);
  std::vector<std::size_t> cuts = TrieScan(*this, characters.values).cuts();
  cuts.push_back(characters.values.size());
  std::vector<std::string> pieces;
  std::size_t start = 0;
  for (const std::size_t end : cuts) {
    if (end <= start) continue;
    pieces.emplace_back(text.substr(characters.starts[start], characters.starts[end] - characters.starts[start]));
    start = end;
  }
  return pieces;
}

}  // namespace rrhf::text
