// The stack machine behind parse_pickle(): one handler for each opcode that is known. Private to this room.
#pragma once

#include <array>
#include <string>

#include "rrhf/core/error.h"
#include "rrhf/format/pickle.h"

namespace rrhf::format {

class PickleMachine {
 public:
  /// An opcode by its byte. One without a handler is refused; its name is for the message.
  struct Opcode {
    std::string_view name;
    void (PickleMachine::*run)() = nullptr;
  };
  using OpcodeTable = std::array<Opcode, 256>;

  PickleMachine(std::span<const std::byte> bytes, std::span<const std::string_view> globals, std::string_view where,
                std::size_t memory);

  /// Runs the pickle to its end. Once.
  Pickle run();

 private:
  static OpcodeTable make_opcodes();

  // Refuses the pickle at the opcode that is being run.
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    throw_input("pickle", "{}: byte {} ({}): {}", where_, opcode_at_, opcode_name_,
                fmt::format(format, std::forward<Args>(args)...));
  }

  // The next bytes of the pickle: an opcode's argument.
  std::span<const std::byte> take(std::size_t count);
  std::string_view take_line();
  template <class T>
  T take_number();

  // Counts bytes that a value takes in memory against what the pickle may take.
  void charge(std::size_t bytes);
  void push(PickleValue value);
  PickleValue pop();
  PickleValue& top(PickleKind kind);
  std::size_t stack_floor() const { return marks_.empty() ? 0 : marks_.back(); }
  std::span<const PickleValue> above_mark();
  void drop_mark();
  PickleValue container(PickleKind kind, std::span<const PickleValue> items);
  std::vector<PickleValue>& content(const PickleValue& value);

  void push_text(std::size_t length);
  void push_tuple_of(std::size_t count);
  void push_global(std::string_view module, std::string_view name);
  void store(std::size_t slot);
  void load(std::size_t slot);

  // Handlers, in the order of the table.
  void proto();
  void frame();
  void stop() { stopped_ = true; }
  void mark();
  void none() { push({}); }
  void new_true() { push({.kind = PickleKind::boolean, .number = 1}); }
  void new_false() { push({.kind = PickleKind::boolean, .number = 0}); }
  void bin_int();
  void bin_int1();
  void bin_int2();
  void long1();
  void bin_float();
  void bin_unicode();
  void short_bin_unicode();
  void empty_tuple() { push_tuple_of(0); }
  void tuple1() { push_tuple_of(1); }
  void tuple2() { push_tuple_of(2); }
  void tuple3() { push_tuple_of(3); }
  void tuple();
  void empty_list() { push(container(PickleKind::list, {})); }
  void append();
  void appends();
  void empty_dict() { push(container(PickleKind::dict, {})); }
  void set_item();
  void set_items();
  void global();
  void stack_global();
  void reduce();
  void build();
  void bin_pers_id();
  void bin_get();
  void long_bin_get();
  void bin_put();
  void long_bin_put();
  void memoize() { store(memo_.size()); }

  Pickle result_;
  std::string_view where_;
  std::size_t at_ = 0;
  std::size_t opcode_at_ = 0;
  std::string_view opcode_name_ = "PROTO";
  std::vector<PickleValue> stack_;
  std::vector<std::size_t> marks_;  // heights of the stack; what lies below the last one is out of reach
  std::vector<PickleValue> memo_;
  std::size_t memory_left_;
  bool stopped_ = false;
};

}  // namespace rrhf::format
