// Zips and pickles made by hand, right or wrong in any one place.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rrhf::testing {

inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// The number as little-endian bytes.
template <class T>
std::string le(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i)
    bytes += static_cast<char>(static_cast<std::uint64_t>(value) >> 8 * i & 0xff);
  return bytes;
}

inline std::uint32_t crc_of(std::string_view data) {
  return static_cast<std::uint32_t>(
      ::crc32(0, reinterpret_cast<const unsigned char*>(data.data()), static_cast<unsigned>(data.size())));
}

/// A member of a made zip, and the lies told about it.
struct FakeMember {
  std::string name;
  std::string data;
  bool zip64 = false;       ///< its numbers stand in ZIP64 fields
  bool descriptor = false;  ///< its sizes stand behind the data, as torch writes them
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::optional<std::uint32_t> crc = {};
  std::optional<std::uint64_t> size = {};    ///< in the directory
  std::optional<std::uint64_t> offset = {};  ///< in the directory
  std::optional<std::string> local_name = {};
};

/// What the end of a made zip says, and the lies told there.
struct FakeEnd {
  bool zip64 = false;
  std::string comment = {};
  std::optional<std::uint64_t> count = {};
  std::optional<std::uint64_t> offset = {};
  std::optional<std::uint64_t> size = {};
  std::uint16_t volume = 0;
};

inline std::string local_part(const FakeMember& member) {
  const auto size = static_cast<std::uint32_t>(member.data.size());
  const std::uint32_t crc = member.crc.value_or(crc_of(member.data));
  const std::uint16_t flags = member.flags | (member.descriptor ? 8 : 0);
  const std::string name = member.local_name.value_or(member.name);
  std::string part = "PK\3\4" + le<std::uint16_t>(0) + le(flags) + le(member.method) + le<std::uint32_t>(0);
  part += member.descriptor ? std::string(12, '\0') : le(crc) + le(size) + le(size);
  part += le(static_cast<std::uint16_t>(name.size())) + le<std::uint16_t>(4) + name + "FB" + le<std::uint16_t>(0);
  part += member.data;
  if (member.descriptor) part += "PK\7\10" + le(crc) + le(size) + le(size);
  return part;
}

inline std::string directory_part(const FakeMember& member, std::uint64_t local_offset) {
  const std::uint64_t size = member.size.value_or(member.data.size()), offset = member.offset.value_or(local_offset);
  const std::uint16_t flags = member.flags | (member.descriptor ? 8 : 0);
  const auto shown = [&](std::uint64_t number) {
    return member.zip64 ? le(0xffffffffu) : le(static_cast<std::uint32_t>(number));
  };
  const std::string extra =
      member.zip64 ? le<std::uint16_t>(1) + le<std::uint16_t>(24) + le(size) + le(size) + le(offset) : std::string();
  return "PK\1\2" + le<std::uint32_t>(0) + le(flags) + le(member.method) + le<std::uint32_t>(0) +
         le(member.crc.value_or(crc_of(member.data))) + shown(size) + shown(size) +
         le(static_cast<std::uint16_t>(member.name.size())) + le(static_cast<std::uint16_t>(extra.size())) +
         std::string(10, '\0') + shown(offset) + member.name + extra;
}

inline std::string make_zip(const std::vector<FakeMember>& members, const FakeEnd& end = {}) {
  std::string file, directory;
  for (const FakeMember& member : members) {
    directory += directory_part(member, file.size());
    file += local_part(member);
  }
  const std::uint64_t offset = end.offset.value_or(file.size()), size = end.size.value_or(directory.size());
  const std::uint64_t count = end.count.value_or(members.size());
  file += directory;
  const std::uint64_t end_at = file.size();
  if (end.zip64) {
    file += "PK\6\6" + le<std::uint64_t>(44) + le<std::uint32_t>(0) + le<std::uint64_t>(end.volume) + le(count) +
            le(count) + le(size) + le(offset);
    file += "PK\6\7" + le<std::uint32_t>(0) + le(end_at) + le<std::uint32_t>(1);
  }
  const auto small = [&](std::uint64_t number) {
    return end.zip64 ? le(0xffffffffu) : le(static_cast<std::uint32_t>(number));
  };
  const auto count16 = static_cast<std::uint16_t>(end.zip64 ? 0xffff : count);
  return file + "PK\5\6" + le(end.volume) + le<std::uint16_t>(0) + le(count16) + le(count16) + small(size) +
         small(offset) + le(static_cast<std::uint16_t>(end.comment.size())) + end.comment;
}

// --- pickles ---------------------------------------------------------------------------------------------------------

inline std::string text_op(std::string_view text) {
  return "X" + le(static_cast<std::uint32_t>(text.size())) + std::string(text);
}
inline std::string int_op(std::int32_t value) { return "J" + le(value); }
inline std::string long_op(std::int64_t value) { return "\x8a\x08" + le(value); }
inline std::string global_op(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
inline std::string tuple_op(const std::vector<std::int64_t>& numbers) {
  std::string ops = "(";
  for (const std::int64_t number : numbers) ops += long_op(number);
  return ops + "t";
}

/// A pickle whose value these opcodes make.
inline std::string pickle_of(std::string_view ops) { return "\x80\x02" + std::string(ops) + "."; }

struct FakeTensor {
  std::string name = "w";
  std::string storage_class = "FloatStorage";
  std::string key = "0";
  std::int64_t numel = 6;  ///< of the storage
  std::int64_t offset = 0;
  std::vector<std::int64_t> size = {2, 3};
  std::vector<std::int64_t> stride = {3, 1};
};

/// The call that rebuilds a tensor, as torch.save writes it.
inline std::string tensor_ops(const FakeTensor& tensor) {
  return global_op("torch._utils", "_rebuild_tensor_v2") + "((" + text_op("storage") +
         global_op("torch", tensor.storage_class) + text_op(tensor.key) + text_op("cpu") + long_op(tensor.numel) +
         "tQ" + long_op(tensor.offset) + tuple_op(tensor.size) + tuple_op(tensor.stride) + "\x89" +
         global_op("collections", "OrderedDict") + ")RtR";
}

inline std::string state_dict_pickle(const std::vector<FakeTensor>& tensors) {
  std::string ops = "}(";
  for (const FakeTensor& tensor : tensors) ops += text_op(tensor.name) + tensor_ops(tensor);
  return pickle_of(ops + "u");
}

/// The members of an archive with this pickle and these storages, "0", "1" and so on.
inline std::vector<FakeMember> archive_members(const std::string& pickle, const std::vector<std::string>& storages) {
  std::vector<FakeMember> members{{.name = "archive/data.pkl", .data = pickle, .descriptor = true},
                                  {.name = "archive/byteorder", .data = "little", .descriptor = true}};
  for (std::size_t i = 0; i < storages.size(); ++i) {
    members.push_back({.name = "archive/data/" + std::to_string(i), .data = storages[i], .descriptor = true});
  }
  return members;
}

}  // namespace rrhf::testing
