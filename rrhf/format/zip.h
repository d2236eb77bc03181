// Zip archives on byte spans, as far as torch.save writes them: stored members, ZIP64, data descriptors
// (PKWARE APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3).
//
// The central directory at the end is what counts. Nothing is copied, and nothing allocated beyond a list of members
// that the directory has room for, whatever counts and sizes the file claims.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace rrhf::format {

/// A file inside an archive. Views point into the archive's bytes.
struct ZipMember {
  std::string_view name;            ///< bytes as they stand; may hold anything
  std::span<const std::byte> data;  ///< stored, so the content itself
  std::uint32_t crc32 = 0;          ///< as the directory claims; verify_member() checks it
};

/// The members of an archive. Valid while the bytes are.
class ZipArchive {
 public:
  /// Reads the directory and checks every claim in it against the bytes; `where` names the file in messages.
  /// Throws InputError for no directory (a truncated file), members that are compressed or encrypted, that lie outside
  /// the file, overlap, or repeat a name, local headers that disagree with the directory, and archives of several
  /// volumes.
  ZipArchive(std::span<const std::byte> bytes, std::string_view where);

  /// In the order of the directory.
  const std::vector<ZipMember>& members() const noexcept { return members_; }

  /// The member of that name, or null.
  const ZipMember* find(std::string_view name) const;

 private:
  std::vector<ZipMember> members_;
  std::vector<std::size_t> by_name_;  // indices into members_
};

/// Reads the member once, from front to back, and throws InputError when its CRC-32 is not the one the directory
/// claims. `taken` is told of each piece of some MiB once it was read, so that its pages can be let go.
void verify_member(const ZipMember& member, std::string_view where,
                   const std::function<void(std::span<const std::byte>)>& taken = {});

}  // namespace rrhf::format
