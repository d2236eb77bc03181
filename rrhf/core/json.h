// JSON as the outside world writes it, on nlohmann_json.
//
// Python writes bare NaN and Infinity, and escapes of lone surrogates; hostile files nest a million deep. The library
// rejects the first two with an unhelpful message and overflows the stack on the third when such a value is copied; of
// equal keys it takes the last. Here the depth is bounded, a bare NaN or Infinity and a number beyond double read as
// doubles that are not finite (every reader of numbers asks), a lone surrogate as U+FFFD, and equal keys are an error.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf {

/// Objects keep the order of their keys, so that what we write reads as it was declared.
using Json = nlohmann::ordered_json;

/// Deeper nesting than this is refused. No format here needs more than six levels.
inline constexpr int max_json_depth = 64;

struct JsonOptions {
  bool comments = false;       ///< allow // and /* */ comments (config files)
  bool repeated_keys = false;  ///< take the last of equal keys in an object, for a caller that finds them itself
};

/// Why a text is not JSON, and where.
class JsonSyntax {
 public:
  JsonSyntax(std::string reason, std::size_t byte) : reason_(std::move(reason)), byte_(byte) {}
  const std::string& reason() const noexcept { return reason_; }  ///< one line, without position
  std::size_t byte() const noexcept { return byte_; }             ///< offset in the text, from 0

 private:
  std::string reason_;
  std::size_t byte_;
};

/// The value `text` holds. Throws InputError "[operation] where: reason (line L, column C)".
Json parse_json(std::string_view text, std::string_view operation, std::string_view where, JsonOptions options = {});

/// The same for readers that go on after a bad row: throws JsonSyntax (no Error) with the byte.
Json parse_json_row(std::string_view text, JsonOptions options = {});

/// One line of JSON. Invalid UTF-8 becomes U+FFFD; a number that is not finite throws Error instead of becoming null.
std::string dump_json(const Json& value, int indent = -1);

/// What a value is, in words for messages: "a string", "an array of 3", "NaN".
std::string describe(const Json& value);

/// Splits a JSON array into the byte ranges of its elements
/// as bytes arrive, so that a file of any size is read in bounded memory.
class ArraySplitter {
 public:
  struct Element {
    std::string text;      ///< the element's own bytes
    std::size_t byte = 0;  ///< its offset in the stream
  };

  /// Takes the next bytes and appends the elements they complete. Throws JsonSyntax (offsets in the stream) when the
  /// text is not an array, nests deeper than max_json_depth, or goes on after the array's end.
  void feed(std::string_view bytes, std::vector<Element>& out);

  /// True once the closing bracket was seen. A stream that ends before is truncated.
  bool finished() const noexcept { return state_ == State::done; }

  /// Bytes taken so far.
  std::size_t position() const noexcept { return position_; }

  /// Where the element begins that is not complete yet: position() when none has begun.
  std::size_t open_element() const noexcept { return state_ == State::in_element ? current_.byte : position_; }

 private:
  enum class State { before_array, before_element, in_element, done };
  void close_element(std::vector<Element>& out);

  State state_ = State::before_array;
  Element current_;
  std::size_t position_ = 0;
  int depth_ = 0;  // inside the current element
  bool in_string_ = false;
  bool escaped_ = false;
  bool any_ = false;
};

}  // namespace rrhf
