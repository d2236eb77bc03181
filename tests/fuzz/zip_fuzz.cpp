// Any bytes as a zip archive: refused, or members that lie inside and can be read whole.
#include "rrhf/format/zip.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return rrhf::testing::fuzz_one(data, size, [](std::span<const std::byte> bytes) {
    const rrhf::format::ZipArchive archive(bytes, "fuzz");
    std::size_t total = 0;
    for (const rrhf::format::ZipMember& member : archive.members()) {
      total += member.data.size();
      rrhf::testing::require(archive.find(member.name) == &member, "a member is found by its name");
    }
    rrhf::testing::require(total <= bytes.size(), "members do not overlap");
    for (const rrhf::format::ZipMember& member : archive.members()) rrhf::format::verify_member(member, "fuzz");
  });
}
