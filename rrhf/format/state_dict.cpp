#include "rrhf/format/state_dict.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>

#include "rrhf/core/error.h"
#include "rrhf/format/bytes.h"
#include "rrhf/format/safetensors.h"

namespace rrhf::format {
namespace {

constexpr std::string_view rebuild_tensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view rebuild_parameter = "torch._utils._rebuild_parameter";

// The storage classes and what safetensors calls their elements.
constexpr std::array storage_dtypes{
    std::pair{"torch.FloatStorage", "F32"},     std::pair{"torch.HalfStorage", "F16"},
    std::pair{"torch.BFloat16Storage", "BF16"}, std::pair{"torch.DoubleStorage", "F64"},
    std::pair{"torch.LongStorage", "I64"},      std::pair{"torch.IntStorage", "I32"},
    std::pair{"torch.ShortStorage", "I16"},     std::pair{"torch.CharStorage", "I8"},
    std::pair{"torch.ByteStorage", "U8"},       std::pair{"torch.BoolStorage", "BOOL"},
};

std::string_view dtype_of_storage(std::string_view global) {
  for (const auto& [name, dtype] : storage_dtypes) {
    if (global == name) return dtype;
  }
  return {};
}

// One value of a pickle can stand for many tensors: what is copied for each of them has limits. torch numbers its
// storages.
constexpr std::size_t most_dimensions = 16, longest_key = 64;

// The way out where a file holds more, or other things, than one dict of tensors.
constexpr const char* save_again = "save the dict of tensors alone with torch.save and read that file";

}  // namespace

std::span<const std::string_view> state_dict_globals() {
  static const std::vector<std::string_view> globals = [] {
    std::vector<std::string_view> names{"collections.OrderedDict", rebuild_tensor, rebuild_parameter};
    for (const auto& [name, dtype] : storage_dtypes) names.push_back(name);
    return names;
  }();
  return globals;
}

std::int64_t TorchEntry::numel() const {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;  // can't overflow: checked when read
  return count;
}

std::int64_t TorchEntry::extent() const {
  if (numel() == 0) return 0;
  std::int64_t last = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) last += (shape[i] - 1) * strides[i];
  return last + 1;
}

TorchArchive StateDictReader::read() {
  require_state_dict();
  const auto items = pickle_.items(pickle_.root());
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < items.size(); i += 2) {
    const std::string_view name = pickle_.text(items[i]);
    if (!names.insert(name).second) throw_input("torch", "{}: {} stands there twice", where_, shown(name));
    archive_.tensors.push_back(tensor(name, items[i + 1]));
  }
  return std::move(archive_);
}

// A dict from names to tensors; what else is there is named, all of it up to a limit.
void StateDictReader::require_state_dict() const {
  const PickleValue& root = pickle_.root();
  if (root.kind != PickleKind::dict) {
    throw_input("torch", "{}: holds {}, not a dict of tensors; {}", where_, name_of(root.kind), save_again);
  }
  constexpr std::size_t listed = 10;
  std::string others;
  std::size_t count = 0;
  const auto items = pickle_.items(root);
  for (std::size_t i = 0; i < items.size(); i += 2) {
    const PickleValue &key = items[i], &value = items[i + 1];
    if (key.kind == PickleKind::text && value.kind == PickleKind::call) continue;
    if (++count > listed) continue;
    const std::string name =
        key.kind == PickleKind::text ? shown(pickle_.text(key)) : fmt::format("(key: {})", name_of(key.kind));
    others += fmt::format("{}{} is {}", others.empty() ? "" : ", ", name, name_of(value.kind));
  }
  if (count > listed) others += fmt::format(" and {} more", count - listed);
  if (count > 0) throw_input("torch", "{}: a dict of tensors is needed; {}; {}", where_, others, save_again);
}

bool StateDictReader::is_call_of(const PickleValue& value, std::string_view global) const {
  return value.kind == PickleKind::call && pickle_.text(pickle_.items(value)[0]) == global;
}

void StateDictReader::refuse(const TorchEntry& entry, std::string_view why) const {
  throw_input("torch", "{}: {}: {}", where_, shown(entry.name), why);
}

// torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]), bare or as the
// first argument of _rebuild_parameter(tensor, requires_grad, hooks).
TorchEntry StateDictReader::tensor(std::string_view name, PickleValue value) {
  TorchEntry entry;
  entry.name = name;
  if (is_call_of(value, rebuild_parameter)) {
    const auto arguments = pickle_.items(pickle_.items(value)[1]);
    if (arguments.size() != 3) refuse(entry, "is a parameter with the wrong number of arguments");
    value = arguments[0];
  }
  if (!is_call_of(value, rebuild_tensor)) refuse(entry, "is not a tensor");
  const auto arguments = pickle_.items(pickle_.items(value)[1]);
  if (arguments.size() != 6 && arguments.size() != 7) refuse(entry, "is a tensor with the wrong number of arguments");
  // A lazy negation or conjugation stands there: the bytes are not yet the values.
  if (arguments.size() == 7 && !pickle_.items(arguments[6]).empty()) refuse(entry, "carries metadata that changes it");
  const Storage found = storage(entry, arguments[0]);
  entry.storage = found.index;
  entry.dtype = found.dtype;
  if (arguments[1].kind != PickleKind::integer || arguments[1].number < 0) refuse(entry, "has a broken storage offset");
  entry.offset = arguments[1].number;
  entry.shape = extents(entry, arguments[2], "size");
  entry.strides = extents(entry, arguments[3], "stride");
  charge(entry);
  require_inside(entry, found.numel);
  return entry;
}

// ("storage", class, key, location, numel)
StateDictReader::Storage StateDictReader::storage(const TorchEntry& entry, const PickleValue& value) {
  const auto outer = pickle_.items(value);
  if (value.kind != PickleKind::persistent || outer[0].kind != PickleKind::tuple) refuse(entry, "has no storage");
  const auto id = pickle_.items(outer[0]);
  if (id.size() != 5 || pickle_.text(id[0]) != "storage" || id[2].kind != PickleKind::text ||
      id[2].length > longest_key || id[4].kind != PickleKind::integer || id[4].number < 0) {
    refuse(entry, "has a storage that is described wrongly");
  }
  const std::string_view dtype = dtype_of_storage(pickle_.text(id[1]));
  if (dtype.empty()) refuse(entry, "has a storage of an unknown class");
  const Storage found{.index = storage_index(entry, pickle_.text(id[2])), .dtype = dtype, .numel = id[4].number};
  const auto available = archive_.storages[found.index].data.size() / safetensors_element_size(dtype);
  if (static_cast<std::uint64_t>(found.numel) != available) {
    refuse(entry, fmt::format("its storage claims {} elements of {}, {} holds {}", found.numel, dtype,
                              shown(archive_.storages[found.index].name), available));
  }
  return found;
}

std::size_t StateDictReader::storage_index(const TorchEntry& entry, std::string_view key) {
  if (const auto known = storage_of_.find(key); known != storage_of_.end()) return known->second;
  const std::string name = fmt::format("{}data/{}", prefix_, key);
  const ZipMember* member = zip_.find(name);
  if (member == nullptr) refuse(entry, fmt::format("its storage {} is not in the archive", shown(name)));
  archive_.storages.push_back(*member);
  storage_of_.emplace(key, archive_.storages.size() - 1);
  return archive_.storages.size() - 1;
}

std::vector<std::int64_t> StateDictReader::extents(const TorchEntry& entry, const PickleValue& value,
                                                   std::string_view what) const {
  if (value.kind != PickleKind::tuple)
    refuse(entry, fmt::format("its {} is {}, not a tuple", what, name_of(value.kind)));
  const auto items = pickle_.items(value);
  if (items.size() > most_dimensions) refuse(entry, fmt::format("has {} dimensions", items.size()));
  std::vector<std::int64_t> numbers;
  for (const PickleValue& item : items) {
    if (item.kind != PickleKind::integer || item.number < 0) {
      refuse(entry, fmt::format("its {} must be whole numbers from 0", what));
    }
    numbers.push_back(item.number);
  }
  return numbers;
}

// Names and shapes cost the pickle a few bytes each where they repeat.
void StateDictReader::charge(const TorchEntry& entry) {
  const std::size_t bytes = 2 * sizeof(TorchEntry) + (entry.shape.size() + entry.strides.size()) * 16;
  if (bytes > memory_left_) refuse(entry, "takes more memory than a file of this size warrants");
  memory_left_ -= bytes;
}

// All elements lie in the storage, and there are no more of them than it has.
void StateDictReader::require_inside(const TorchEntry& entry, std::int64_t available) const {
  if (entry.shape.size() != entry.strides.size()) {
    refuse(entry, fmt::format("{} sizes and {} strides", entry.shape.size(), entry.strides.size()));
  }
  // Strides and sizes of tensors without elements are checked as well: they enter products too.
  const bool empty = std::ranges::find(entry.shape, 0) != entry.shape.end();
  std::int64_t numel = 1, last = entry.offset;
  for (std::size_t i = 0; i < entry.shape.size(); ++i) {
    if (entry.shape[i] == 0) continue;
    std::int64_t reach = 0;
    if (__builtin_mul_overflow(numel, entry.shape[i], &numel) || (!empty && numel > available) ||
        __builtin_mul_overflow(entry.shape[i] - 1, entry.strides[i], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      refuse(entry, fmt::format("is larger than its storage of {} elements", available));
    }
  }
  if (empty) {
    if (entry.offset > available) refuse(entry, "begins beyond its storage");
    return;
  }
  if (last >= available) {
    refuse(entry, fmt::format("reaches element {} of a storage of {}", last, available));
  }
}

}  // namespace rrhf::format
