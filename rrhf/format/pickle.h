// A reader of Python pickles that runs nothing (protocols 2 to 5; Lib/pickletools.py of CPython describes the opcodes).
//
// A pickle is a program for a stack machine, and Python's machine calls whatever function the program names. This one
// knows the opcodes that plain data, dicts and tensors need, and the globals its caller lists; every other is refused
// by name. A call stays a value, "this global with these arguments", for the caller to interpret.
//
// Memory: a value is 16 bytes and stands for at least one byte of the pickle; the stack has a fixed limit. Values refer
// to one another by number, so that depth costs no stack, in building or in destruction, and cycles harm nobody who
// does not follow them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace rrhf::format {

enum class PickleKind : std::uint8_t {
  none,
  boolean,
  integer,
  real,  ///< only that it is one: nothing here needs its value
  text,
  global,
  tuple,
  list,
  dict,
  call,        ///< a global called with a tuple of arguments
  persistent,  ///< what the writer kept outside of the pickle, by an id
};

/// "a dict", "text": for messages.
std::string_view name_of(PickleKind kind);

/// One value. What it holds is asked of the Pickle it came from.
struct PickleValue {
  PickleKind kind = PickleKind::none;
  std::uint32_t length = 0;  ///< of a text, in bytes
  std::int64_t number = 0;   ///< of an integer or boolean, its value; else where the Pickle finds its content
};

/// All values of a pickle. Valid while its bytes and the list of globals are.
class Pickle {
 public:
  const PickleValue& root() const noexcept { return root_; }

  /// The characters of a text (valid UTF-8), or the "module.name" of a global.
  std::string_view text(const PickleValue& value) const;

  /// The elements of a tuple or list; keys and values of a dict in turn; of a call the global and the tuple of
  /// arguments; of a persistent value its id. Nothing for other kinds.
  std::span<const PickleValue> items(const PickleValue& value) const;

 private:
  friend class PickleMachine;
  std::span<const std::byte> bytes_;
  std::span<const std::string_view> globals_;
  std::vector<std::vector<PickleValue>> contents_;
  PickleValue root_;
};

/// Longer pickles are refused: that of a model of 100,000 tensors has 25 MB.
inline constexpr std::size_t longest_pickle = std::size_t{64} << 20;

/// What a pickle may take in memory, however small its file: room for some ten thousand tensors.
inline constexpr std::size_t least_pickle_memory = std::size_t{8} << 20;

/// Reads a whole pickle. `globals` lists the "module.name" that it may mention. collections.OrderedDict, if listed,
/// gives a dict when called without arguments; the attributes that BUILD then sets on a dict are dropped (state dicts
/// carry
/// `_metadata` there). `where` names the pickle in messages, which say the byte and the opcode.
/// Throws InputError for any other opcode or global, for a pickle that is broken, truncated or goes on after its end,
/// and for one whose values would take more than `memory` bytes: a few bytes of pickle can ask for many.
Pickle parse_pickle(std::span<const std::byte> bytes, std::span<const std::string_view> globals, std::string_view where,
                    std::size_t memory = least_pickle_memory);

}  // namespace rrhf::format
