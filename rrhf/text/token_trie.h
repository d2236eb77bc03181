// Cutting a text at literal tokens, as transformers' slow tokenizers do.
//
// The longest token wins among those that begin at one place, and an earlier begin wins over a later one. Where tokens
// overlap transformers has quirks ("abX" beside "b" takes "abcX" out of a text, which is no token and is then treated
// as text); this class has the same, since released models were trained with them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::text {

/// A set of literal tokens. Texts and tokens must be valid UTF-8. Const calls are safe from several threads.
class TokenTrie {
 public:
  /// An empty token is passed over; adding one twice changes nothing.
  void add(std::string_view token);

  /// The pieces of `text` in order, tokens and what stands between them, none empty. Joined they are the text.
  std::vector<std::string> split(std::string_view text) const;

 private:
  friend class TrieScan;
  struct Node {
    std::map<std::uint32_t, int> next;  // a character (its UTF-8 bytes as one number) -> index into nodes_
    bool token_ends = false;
  };

  int child(int node, std::uint32_t character) const;  // -1: none

  std::vector<Node> nodes_{1};
};

}  // namespace rrhf::text
