#include "rrhf/format/zip.h"

#include <zlib.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "rrhf/core/error.h"
#include "rrhf/format/bytes.h"

namespace rrhf::format {
namespace {

using Bytes = std::span<const std::byte>;

// Signatures and fixed sizes of the records (APPNOTE 4.3.7, 4.3.12, 4.3.14 to 4.3.16).
constexpr std::uint32_t local_signature = 0x04034b50, central_signature = 0x02014b50, end_signature = 0x06054b50,
                        end64_signature = 0x06064b50, locator_signature = 0x07064b50;
constexpr std::size_t local_bytes = 30, central_bytes = 46, end_bytes = 22, end64_bytes = 56, locator_bytes = 20;
constexpr std::uint16_t encrypted_flags = 1 | 1 << 6 | 1 << 13, descriptor_flag = 1 << 3;
// A 32-bit field of this value says that the number stands in a ZIP64 record.
constexpr std::uint32_t elsewhere = 0xffffffff;

struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  std::uint64_t count = 0;
};

// What the directory says of one member, before its own header was looked at.
struct Claim {
  ZipMember member;
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint64_t stored_size = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;  // of the local header
  std::uint64_t end = 0;     // one past the data, once known
};

std::uint16_t u16(Bytes record, std::size_t at) { return little_endian<std::uint16_t>(record, at); }
std::uint32_t u32(Bytes record, std::size_t at) { return little_endian<std::uint32_t>(record, at); }
std::uint64_t u64(Bytes record, std::size_t at) { return little_endian<std::uint64_t>(record, at); }

// The record of `size` bytes and this signature at an offset, or nothing.
std::optional<Bytes> record_at(Bytes bytes, std::uint64_t offset, std::size_t size, std::uint32_t signature) {
  if (offset > bytes.size() || bytes.size() - offset < size) return std::nullopt;
  const Bytes record = bytes.subspan(offset, size);
  return u32(record, 0) == signature ? std::optional(record) : std::nullopt;
}

// Where the end record begins: it is the last thing in the file but for a comment of up to 64 KiB.
std::size_t find_end_record(Bytes bytes, std::string_view where) {
  constexpr std::size_t longest_comment = 0xffff;
  for (std::size_t comment = 0; comment <= longest_comment && comment + end_bytes <= bytes.size(); ++comment) {
    const std::size_t at = bytes.size() - end_bytes - comment;
    const auto record = record_at(bytes, at, end_bytes, end_signature);
    if (record && u16(*record, 20) == comment) return at;
  }
  throw_input("zip", "{}: has no directory at its end: the file is truncated or no zip archive", where);
}

Directory find_directory(Bytes bytes, std::string_view where) {
  std::size_t end_at = find_end_record(bytes, where);
  const Bytes end = bytes.subspan(end_at, end_bytes);
  Directory directory{.offset = u32(end, 16), .size = u32(end, 12), .count = u16(end, 10)};
  std::uint64_t volumes = u16(end, 4) | u16(end, 6) | (u16(end, 8) ^ u16(end, 10));
  const auto locator = end_at < locator_bytes
                           ? std::nullopt
                           : record_at(bytes, end_at - locator_bytes, locator_bytes, locator_signature);
  if (locator) {
    const auto end64 = record_at(bytes, u64(*locator, 8), end64_bytes, end64_signature);
    if (!end64) throw_input("zip", "{}: the ZIP64 end record is not where the file says", where);
    end_at = u64(*locator, 8);
    directory = {.offset = u64(*end64, 48), .size = u64(*end64, 40), .count = u64(*end64, 32)};
    volumes = u32(*end64, 16) | u32(*end64, 20) | (u64(*end64, 24) ^ u64(*end64, 32));
  }
  if (volumes != 0) throw_input("zip", "{}: is one of several volumes of an archive; those are not read", where);
  if (directory.size > end_at || directory.offset != end_at - directory.size) {
    throw_input("zip", "{}: the directory (offset {}, {} bytes) does not end where the end record begins ({})", where,
                directory.offset, directory.size, end_at);
  }
  if (directory.count > directory.size / central_bytes) {
    throw_input("zip", "{}: claims {} members in a directory of {} bytes", where, directory.count, directory.size);
  }
  return directory;
}

// Takes from a member's ZIP64 extra field the numbers that its header has no room for; they stand there in this order.
void read_zip64_extra(Claim& claim, Bytes extra, std::string_view where) {
  constexpr std::uint16_t zip64_tag = 1;
  while (extra.size() >= 4) {
    const std::size_t size = u16(extra, 2);
    if (size > extra.size() - 4) break;
    Bytes content = extra.subspan(4, size);
    const bool found = u16(extra, 0) == zip64_tag;
    extra = extra.subspan(4 + size);
    if (!found) continue;
    for (std::uint64_t* number : {&claim.size, &claim.stored_size, &claim.offset}) {
      if (*number != elsewhere || content.size() < 8) continue;
      *number = u64(content, 0);
      content = content.subspan(8);
    }
    return;
  }
  if (claim.size == elsewhere || claim.stored_size == elsewhere || claim.offset == elsewhere) {
    throw_input("zip", "{}: {} has no ZIP64 field for its size", where, shown(claim.member.name));
  }
}

// Reads the entry at the front of the directory and moves the directory past it.
Claim read_entry(Bytes& directory, std::string_view where) {
  const auto record = record_at(directory, 0, central_bytes, central_signature);
  if (!record) throw_input("zip", "{}: the directory is broken", where);
  const std::size_t name = u16(*record, 28), extra = u16(*record, 30), comment = u16(*record, 32);
  if (name + extra + comment > directory.size() - central_bytes) {
    throw_input("zip", "{}: an entry goes beyond the directory", where);
  }
  Claim claim{
      .member = {.name = text_of(directory.subspan(central_bytes, name)), .data = {}, .crc32 = u32(*record, 16)},
      .flags = u16(*record, 8),
      .method = u16(*record, 10),
      .stored_size = u32(*record, 20),
      .size = u32(*record, 24),
      .offset = u32(*record, 42)};
  read_zip64_extra(claim, directory.subspan(central_bytes + name, extra), where);
  directory = directory.subspan(central_bytes + name + extra + comment);
  return claim;
}

void require_plain(const Claim& claim, std::string_view where) {
  if ((claim.flags & encrypted_flags) != 0) {
    throw_input("zip", "{}: {} is encrypted; only plain members are read", where, shown(claim.member.name));
  }
  if (claim.method != 0 || claim.stored_size != claim.size) {
    throw_input(
        "zip",
        "{}: {} is compressed (method {}); torch.save only stores, so this is a TorchScript program or an archive "
        "that was packed again: if you trust it, load it with torch (weights_only=True) and torch.save its state dict",
        where, shown(claim.member.name), claim.method);
  }
}

// Finds the data of a member behind its own header, which must say what the directory says.
void locate(Claim& claim, Bytes before_directory, std::string_view where) {
  const std::string name = shown(claim.member.name);
  const auto record = record_at(before_directory, claim.offset, local_bytes, local_signature);
  if (!record) throw_input("zip", "{}: {}: no member begins at offset {}", where, name, claim.offset);
  const std::uint64_t name_at = claim.offset + local_bytes;
  const std::uint64_t begin = name_at + u16(*record, 26) + u16(*record, 28);
  if (begin > before_directory.size() || claim.size > before_directory.size() - begin) {
    throw_input("zip", "{}: {} ({} bytes at offset {}) goes beyond the end of the members at {}", where, name,
                claim.size, begin, before_directory.size());
  }
  if (text_of(before_directory.subspan(name_at, u16(*record, 26))) != claim.member.name) {
    throw_input("zip", "{}: {} has another name in its own header than in the directory", where, name);
  }
  // With a descriptor behind the data the header's own sizes are 0, and they may stand in a ZIP64 field.
  const std::uint32_t header_size = u32(*record, 22);
  const bool says_size = (u16(*record, 6) & descriptor_flag) == 0 && header_size != elsewhere;
  if (u16(*record, 8) != claim.method || (says_size && header_size != claim.size)) {
    throw_input("zip", "{}: {} has another size or method in its own header than in the directory", where, name);
  }
  claim.member.data = before_directory.subspan(begin, claim.size);
  claim.end = begin + claim.size;
}

// Two members on the same bytes would let a small file claim any amount of data.
void refuse_overlaps(const std::vector<Claim>& claims, std::string_view where) {
  std::vector<const Claim*> sorted;
  for (const Claim& claim : claims) sorted.push_back(&claim);
  std::ranges::sort(sorted, {}, &Claim::offset);
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i]->offset < sorted[i - 1]->end) {
      throw_input("zip", "{}: {} and {} overlap", where, shown(sorted[i - 1]->member.name),
                  shown(sorted[i]->member.name));
    }
  }
}

}  // namespace

ZipArchive::ZipArchive(Bytes bytes, std::string_view where) {
  const Directory directory = find_directory(bytes, where);
  Bytes entries = bytes.subspan(directory.offset, directory.size);
  std::vector<Claim> claims;
  claims.reserve(directory.count);
  for (std::uint64_t i = 0; i < directory.count; ++i) {
    claims.push_back(read_entry(entries, where));
    require_plain(claims.back(), where);
    locate(claims.back(), bytes.first(directory.offset), where);
  }
  if (!entries.empty()) throw_input("zip", "{}: the directory holds more than its {} members", where, directory.count);
  refuse_overlaps(claims, where);

  for (const Claim& claim : claims) members_.push_back(claim.member);
  by_name_.resize(members_.size());
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  const auto name_of = [this](std::size_t i) { return members_[i].name; };
  std::ranges::sort(by_name_, {}, name_of);
  const auto twice = std::ranges::adjacent_find(by_name_, {}, name_of);
  if (twice != by_name_.end()) throw_input("zip", "{}: {} stands there twice", where, shown(name_of(*twice)));
}

const ZipMember* ZipArchive::find(std::string_view name) const {
  const auto name_of = [this](std::size_t i) { return members_[i].name; };
  const auto at = std::ranges::lower_bound(by_name_, name, {}, name_of);
  return at != by_name_.end() && members_[*at].name == name ? &members_[*at] : nullptr;
}

void verify_member(const ZipMember& member, std::string_view where, const std::function<void(Bytes)>& taken) {
  constexpr std::size_t piece_bytes = std::size_t{4} << 20;
  uLong actual = 0;  // the checksum of no bytes
  for (Bytes rest = member.data; !rest.empty();) {
    const Bytes piece = rest.first(std::min(piece_bytes, rest.size()));
    actual = ::crc32_z(actual, reinterpret_cast<const unsigned char*>(piece.data()), piece.size());
    if (taken) taken(piece);
    rest = rest.subspan(piece.size());
  }
  if (actual != member.crc32) {
    throw_input("zip", "{}: {} has CRC-32 {:08x}, the directory says {:08x}: the file is damaged; fetch it again",
                where, shown(member.name), actual, member.crc32);
  }
}

}  // namespace rrhf::format
