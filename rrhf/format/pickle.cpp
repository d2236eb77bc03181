#include "rrhf/format/pickle.h"

#include <algorithm>

#include "rrhf/core/unicode.h"
#include "rrhf/format/bytes.h"
#include "rrhf/format/pickle_machine.h"

namespace rrhf::format {
namespace {

// Python sets a thousand items of a dict at a time; nothing else makes a stack high.
constexpr std::size_t highest_stack = 1 << 16;
// What a vector and its block take beside its items, and an item in a vector that grows by doubling.
constexpr std::size_t container_bytes = 2 * sizeof(std::vector<PickleValue>) + 16;
constexpr std::size_t item_bytes = 3 * sizeof(PickleValue);
constexpr std::string_view ordered_dict = "collections.OrderedDict";

bool is_container(PickleKind kind) {
  return kind == PickleKind::tuple || kind == PickleKind::list || kind == PickleKind::dict ||
         kind == PickleKind::call || kind == PickleKind::persistent;
}

}  // namespace

std::string_view name_of(PickleKind kind) {
  constexpr std::array names{"None",    "a boolean", "an integer", "a real number", "a text",         "a global",
                             "a tuple", "a list",    "a dict",     "a call",        "a persistent id"};
  return names[static_cast<std::size_t>(kind)];
}

std::string_view Pickle::text(const PickleValue& value) const {
  if (value.kind == PickleKind::global) return globals_[static_cast<std::size_t>(value.number)];
  if (value.kind != PickleKind::text) return {};
  return text_of(bytes_.subspan(static_cast<std::size_t>(value.number), value.length));
}

std::span<const PickleValue> Pickle::items(const PickleValue& value) const {
  if (!is_container(value.kind)) return {};
  return contents_[static_cast<std::size_t>(value.number)];
}

PickleMachine::PickleMachine(std::span<const std::byte> bytes, std::span<const std::string_view> globals,
                             std::string_view where, std::size_t memory)
    : where_(where), memory_left_(memory) {
  result_.bytes_ = bytes;
  result_.globals_ = globals;
  // The first is the content of every empty tuple: a byte of pickle each, and nothing can be added to a tuple.
  result_.contents_.emplace_back();
}

Pickle PickleMachine::run() {
  static const OpcodeTable opcodes = make_opcodes();
  const auto bytes = result_.bytes_;
  if (bytes.size() > longest_pickle) refuse("{} bytes are more than any state dict needs", bytes.size());
  if (bytes.empty() || bytes[0] != std::byte{0x80}) refuse("does not begin with its protocol: no pickle of torch.save");
  while (!stopped_) {
    opcode_at_ = at_;
    opcode_name_ = "the end";
    const auto code = std::to_integer<std::size_t>(take(1)[0]);
    const Opcode& opcode = opcodes[code];
    opcode_name_ = opcode.name.empty() ? std::string_view("no opcode") : opcode.name;
    if (opcode.run == nullptr) refuse("0x{:02x} is not among the opcodes that a state dict needs", code);
    (this->*opcode.run)();
  }
  result_.root_ = pop();
  if (!stack_.empty() || !marks_.empty()) refuse("{} values are left over", stack_.size());
  if (at_ != bytes.size()) refuse("the pickle ends here, and {} bytes follow", bytes.size() - at_);
  return std::move(result_);
}

std::span<const std::byte> PickleMachine::take(std::size_t count) {
  if (count > result_.bytes_.size() - at_) refuse("the pickle is truncated");
  const auto taken = result_.bytes_.subspan(at_, count);
  at_ += count;
  return taken;
}

std::string_view PickleMachine::take_line() {
  constexpr std::size_t longest_name = 256;
  const std::string_view rest = text_of(result_.bytes_.subspan(at_)).substr(0, longest_name);
  const std::size_t length = rest.find('\n');
  if (length == rest.npos) refuse("a name does not end");
  take(length + 1);
  return rest.substr(0, length);
}

template <class T>
T PickleMachine::take_number() {
  return little_endian<T>(take(sizeof(T)));
}

void PickleMachine::mark() {
  if (marks_.size() >= highest_stack) refuse("more than {} marks are on the stack", highest_stack);
  marks_.push_back(stack_.size());
}

void PickleMachine::charge(std::size_t bytes) {
  if (bytes > memory_left_) refuse("takes more memory than a file of this size warrants");
  memory_left_ -= bytes;
}

void PickleMachine::push(PickleValue value) {
  if (stack_.size() >= highest_stack) refuse("more than {} values are on the stack", highest_stack);
  stack_.push_back(value);
}

PickleValue PickleMachine::pop() {
  if (stack_.size() <= stack_floor()) refuse("the stack is empty");
  const PickleValue value = stack_.back();
  stack_.pop_back();
  return value;
}

PickleValue& PickleMachine::top(PickleKind kind) {
  if (stack_.size() <= stack_floor()) refuse("the stack is empty");
  if (stack_.back().kind != kind) refuse("needs {}, found {}", name_of(kind), name_of(stack_.back().kind));
  return stack_.back();
}

std::span<const PickleValue> PickleMachine::above_mark() {
  if (marks_.empty()) refuse("there is no mark on the stack");
  return std::span(stack_).subspan(marks_.back());
}

void PickleMachine::drop_mark() {
  stack_.resize(marks_.back());
  marks_.pop_back();
}

PickleValue PickleMachine::container(PickleKind kind, std::span<const PickleValue> items) {
  charge(container_bytes + items.size() * item_bytes);
  result_.contents_.emplace_back(items.begin(), items.end());
  return {.kind = kind, .number = std::ssize(result_.contents_) - 1};
}

std::vector<PickleValue>& PickleMachine::content(const PickleValue& value) {
  return result_.contents_[static_cast<std::size_t>(value.number)];
}

void PickleMachine::push_text(std::size_t length) {
  const std::size_t begin = at_;
  if (find_invalid_utf8(text_of(take(length))) != std::string_view::npos) refuse("a text is not valid UTF-8");
  push({.kind = PickleKind::text,
        .length = static_cast<std::uint32_t>(length),
        .number = static_cast<std::int64_t>(begin)});
}

void PickleMachine::push_tuple_of(std::size_t count) {
  if (stack_.size() - stack_floor() < count) refuse("the stack is empty");
  if (count == 0) return push({.kind = PickleKind::tuple, .number = 0});
  const PickleValue made = container(PickleKind::tuple, std::span(stack_).last(count));
  stack_.resize(stack_.size() - count);
  push(made);
}

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  const auto globals = result_.globals_;
  for (std::size_t i = 0; i < globals.size(); ++i) {
    const std::string_view known = globals[i];
    if (known.size() == module.size() + 1 + name.size() && known.starts_with(module) && known[module.size()] == '.' &&
        known.ends_with(name)) {
      return push({.kind = PickleKind::global, .number = static_cast<std::int64_t>(i)});
    }
  }
  refuse("asks for {}.{}, which a state dict of plain tensors does not need; nothing that a file names is ever run",
         shown(module), shown(name));
}

void PickleMachine::store(std::size_t slot) {
  if (stack_.size() <= stack_floor()) refuse("the stack is empty");
  if (slot > memo_.size()) refuse("memo slot {} after {}; writers number them in turn", slot, memo_.size());
  if (slot == memo_.size()) {
    charge(item_bytes);
    memo_.push_back(stack_.back());
  } else {
    memo_[slot] = stack_.back();
  }
}

void PickleMachine::load(std::size_t slot) {
  if (slot >= memo_.size()) refuse("memo slot {} was never filled", slot);
  push(memo_[slot]);
}

void PickleMachine::proto() {
  if (opcode_at_ != 0) refuse("stands in the middle");
  if (const auto version = take_number<std::uint8_t>(); version < 2 || version > 5) {
    refuse("protocol {} is not read; torch.save writes 2", version);
  }
}

void PickleMachine::frame() {
  if (const auto size = take_number<std::uint64_t>(); size > result_.bytes_.size() - at_) {
    refuse("a frame of {} bytes goes beyond the pickle", size);
  }
}

void PickleMachine::bin_int() { push({.kind = PickleKind::integer, .number = take_number<std::int32_t>()}); }
void PickleMachine::bin_int1() { push({.kind = PickleKind::integer, .number = take_number<std::uint8_t>()}); }
void PickleMachine::bin_int2() { push({.kind = PickleKind::integer, .number = take_number<std::uint16_t>()}); }

// Two's complement in as many bytes as it takes, low byte first.
void PickleMachine::long1() {
  const auto bytes = take(take_number<std::uint8_t>());
  if (bytes.size() > 8) refuse("an integer of {} bytes; 8 are read", bytes.size());
  std::uint64_t value = !bytes.empty() && (bytes.back() & std::byte{0x80}) != std::byte{0} ? ~std::uint64_t{0} : 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  push({.kind = PickleKind::integer, .number = static_cast<std::int64_t>(value)});
}

void PickleMachine::bin_float() {
  take(8);
  push({.kind = PickleKind::real});
}

void PickleMachine::bin_unicode() { push_text(take_number<std::uint32_t>()); }
void PickleMachine::short_bin_unicode() { push_text(take_number<std::uint8_t>()); }

void PickleMachine::tuple() {
  const auto items = above_mark();
  const PickleValue made =
      items.empty() ? PickleValue{.kind = PickleKind::tuple, .number = 0} : container(PickleKind::tuple, items);
  drop_mark();
  push(made);
}

void PickleMachine::append() {
  const PickleValue item = pop();
  charge(item_bytes);
  content(top(PickleKind::list)).push_back(item);
}

void PickleMachine::appends() {
  const auto items = above_mark();
  const std::vector<PickleValue> added(items.begin(), items.end());
  drop_mark();
  auto& list = content(top(PickleKind::list));
  charge(added.size() * item_bytes);
  list.insert(list.end(), added.begin(), added.end());
}

void PickleMachine::set_item() {
  const PickleValue value = pop(), key = pop();
  auto& dict = content(top(PickleKind::dict));
  charge(2 * item_bytes);
  dict.push_back(key);
  dict.push_back(value);
}

void PickleMachine::set_items() {
  const auto items = above_mark();
  if (items.size() % 2 != 0) refuse("a key has no value");
  const std::vector<PickleValue> added(items.begin(), items.end());
  drop_mark();
  auto& dict = content(top(PickleKind::dict));
  charge(added.size() * item_bytes);
  dict.insert(dict.end(), added.begin(), added.end());
}

void PickleMachine::global() {
  const std::string_view module = take_line();
  push_global(module, take_line());
}

void PickleMachine::stack_global() {
  const PickleValue name = pop(), module = pop();
  if (name.kind != PickleKind::text || module.kind != PickleKind::text) refuse("a global's name must be text");
  push_global(result_.text(module), result_.text(name));
}

void PickleMachine::reduce() {
  const PickleValue arguments = pop();
  const PickleValue callable = pop();
  if (callable.kind != PickleKind::global || arguments.kind != PickleKind::tuple) {
    refuse("a call of {} with {}", name_of(callable.kind), name_of(arguments.kind));
  }
  if (result_.text(callable) != ordered_dict) {
    return push(container(PickleKind::call, std::array{callable, arguments}));
  }
  if (!content(arguments).empty()) refuse("{} with arguments, as Python 2 wrote it, is not read", ordered_dict);
  push(container(PickleKind::dict, {}));
}

void PickleMachine::build() {
  pop();
  top(PickleKind::dict);
}

void PickleMachine::bin_pers_id() { push(container(PickleKind::persistent, std::array{pop()})); }

void PickleMachine::bin_get() { load(take_number<std::uint8_t>()); }
void PickleMachine::long_bin_get() { load(take_number<std::uint32_t>()); }
void PickleMachine::bin_put() { store(take_number<std::uint8_t>()); }
void PickleMachine::long_bin_put() { store(take_number<std::uint32_t>()); }

Pickle parse_pickle(std::span<const std::byte> bytes, std::span<const std::string_view> globals, std::string_view where,
                    std::size_t memory) {
  return PickleMachine(bytes, globals, where, memory).run();
}

}  // namespace rrhf::format
