#include "rrhf/format/zip.h"

#include "archives.h"
#include "rrhf/format/bytes.h"
#include "support.h"

namespace rrhf::format {
namespace {

using namespace rrhf::testing;

std::string zip_refusal(const std::string& file) {
  return refusal_of([&] {
    const ZipArchive archive(bytes_of(file), "m.zip");
    for (const ZipMember& member : archive.members()) verify_member(member, "m.zip");
  });
}

std::string zip_refusal(const FakeMember& member) { return zip_refusal(make_zip({member})); }

TEST(Zip, GivesMembersInPlace) {
  const std::string file = make_zip({{.name = "a/x", .data = "first"}, {.name = "a/y", .data = ""}});
  const ZipArchive archive(bytes_of(file), "m.zip");
  ASSERT_EQ(archive.members().size(), 2u);
  EXPECT_EQ(archive.members()[0].name, "a/x");
  EXPECT_EQ(text_of(archive.find("a/x")->data), "first");
  // The data stands in the file itself: 30 bytes of header, 3 of name, 4 of extra field.
  EXPECT_EQ(static_cast<const void*>(archive.find("a/x")->data.data()), file.data() + 37);
  EXPECT_TRUE(archive.find("a/y")->data.empty());
  EXPECT_EQ(archive.find("a/z"), nullptr);
  EXPECT_EQ(zip_refusal(file), "accepted");
}

TEST(Zip, TakesEveryFormThatWritersUse) {
  for (const bool zip64 : {false, true}) {
    for (const bool descriptor : {false, true}) {
      for (const char* comment : {"", "a comment", "PK\5\6 in a comment"}) {
        const std::string file = make_zip(
            {{.name = "n", .data = "12345", .zip64 = zip64, .descriptor = descriptor}, {.name = "m", .data = "6"}},
            {.zip64 = zip64, .comment = comment});
        EXPECT_EQ(zip_refusal(file), "accepted");
        EXPECT_EQ(text_of(ZipArchive(bytes_of(file), "m.zip").find("n")->data), "12345");
      }
    }
  }
  EXPECT_EQ(zip_refusal(make_zip({})), "accepted");
}

TEST(Zip, RefusesAWrongChecksumByName) {
  // crc32("123456789") is 0xcbf43926: the check value of the CRC catalogues.
  EXPECT_EQ(zip_refusal(FakeMember{.name = "n", .data = "123456789", .crc = 0xcbf43926}), "accepted");
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "123456789", .crc = 0xcbf43927}),
                   "m.zip: n has CRC-32 cbf43926, the directory says cbf43927"));
}

TEST(Zip, RefusesWhatIsNotStoredPlain) {
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "x", .method = 8}), "n is compressed (method 8)"));
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "x", .flags = 1}), "n is encrypted"));
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "x", .flags = 1 << 6}), "n is encrypted"));
}

TEST(Zip, RefusesMembersOutsideTheFile) {
  const std::uint64_t huge = std::uint64_t{1} << 60;
  EXPECT_TRUE(
      says(zip_refusal(FakeMember{.name = "n", .data = "x", .descriptor = true, .size = 100}), "beyond the end"));
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "x", .zip64 = true, .descriptor = true, .size = huge}),
                   "n (1152921504606846976 bytes at offset 35) goes beyond the end"));
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "x", .offset = 4}), "no member begins at offset 4"));
  EXPECT_TRUE(
      says(zip_refusal(FakeMember{.name = "n", .data = "x", .zip64 = true, .offset = huge}), "no member begins at"));
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "x", .zip64 = true, .offset = ~std::uint64_t{0}}),
                   "no member begins at"));
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "x", .size = 0xffffffff}), "no ZIP64 field"));
}

TEST(Zip, RefusesMembersThatOverlap) {
  const std::string inner = local_part({.name = "b", .data = "secret"});
  const FakeMember outer{.name = "a", .data = inner};
  const FakeMember same{.name = "b", .data = "secret", .offset = 30 + 1 + 4};  // inside of a's data
  EXPECT_TRUE(says(zip_refusal(make_zip({outer, same})), "a and b overlap"));
}

TEST(Zip, RefusesHeadersThatDisagree) {
  EXPECT_TRUE(
      says(zip_refusal(FakeMember{.name = "n", .data = "x", .local_name = "o"}), "another name in its own header"));
  EXPECT_TRUE(says(zip_refusal(FakeMember{.name = "n", .data = "xy", .size = 1}), "another size or method"));
  EXPECT_TRUE(
      says(zip_refusal(make_zip({{.name = "n", .data = "x"}, {.name = "n", .data = "y"}})), "n stands there twice"));
}

TEST(Zip, RefusesBrokenEnds) {
  const std::vector<FakeMember> one{{.name = "n", .data = "x"}};
  const std::uint64_t huge = std::uint64_t{1} << 60;
  for (const bool zip64 : {false, true}) {
    EXPECT_TRUE(says(zip_refusal(make_zip(one, {.zip64 = zip64, .count = 2})), "claims 2 members in a directory of"));
    EXPECT_TRUE(says(zip_refusal(make_zip(one, {.zip64 = zip64, .count = 0})), "holds more than its 0 members"));
    EXPECT_TRUE(
        says(zip_refusal(make_zip(one, {.zip64 = zip64, .offset = 1})), "does not end where the end record begins"));
    EXPECT_TRUE(
        says(zip_refusal(make_zip(one, {.zip64 = zip64, .size = 1})), "does not end where the end record begins"));
    EXPECT_TRUE(says(zip_refusal(make_zip(one, {.zip64 = zip64, .volume = 1})), "several volumes"));
  }
  EXPECT_TRUE(says(zip_refusal(make_zip(one, {.zip64 = true, .count = huge})), "claims 1152921504606846976 members"));
  EXPECT_TRUE(
      says(zip_refusal(make_zip(one, {.zip64 = true, .size = huge})), "does not end where the end record begins"));
  std::string lost = make_zip(one, {.zip64 = true});
  lost.replace(lost.find("PK\6\6"), 4, "PK\6\5");
  EXPECT_TRUE(says(zip_refusal(lost), "ZIP64 end record is not where"));
}

TEST(Zip, ChecksAMemberPieceByPiece) {
  std::string data(std::size_t{9} << 20, '\0');
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 2654435761u >> 13);
  const std::string file = make_zip({{.name = "n", .data = data}});
  const ZipArchive zip(bytes_of(file), "m.zip");
  const std::byte* next = zip.members().at(0).data.data();
  std::size_t pieces = 0;
  verify_member(zip.members().at(0), "m.zip", [&](std::span<const std::byte> piece) {
    EXPECT_EQ(piece.data(), next);
    EXPECT_LE(piece.size(), std::size_t{4} << 20);
    next += piece.size();
    ++pieces;
  });
  EXPECT_EQ(pieces, 3u);
  EXPECT_EQ(next, zip.members().at(0).data.data() + data.size());
  std::string damaged = file;
  damaged[file.find(data) + data.size() - 1] ^= 1;  // in the last piece
  const ZipArchive other(bytes_of(damaged), "m.zip");
  EXPECT_THROW(verify_member(other.members().at(0), "m.zip"), InputError);
}

TEST(Zip, RefusesEveryTruncation) {
  const std::string file =
      make_zip({{.name = "n", .data = "12345", .zip64 = true, .descriptor = true}}, {.zip64 = true});
  for (std::size_t length = 0; length < file.size(); ++length) {
    EXPECT_TRUE(says(zip_refusal(file.substr(0, length)), "truncated or no zip archive")) << length;
  }
}

TEST(Zip, RefusesOrKeepsEveryChangedByte) {
  // One member's content and checksum are covered; what may change is what nobody reads.
  const std::string file = make_zip({{.name = "n", .data = "12345"}});
  for (std::size_t at = 0; at < file.size(); ++at) {
    std::string changed = file;
    changed[at] ^= 0x55;
    if (zip_refusal(changed) != "accepted") continue;
    EXPECT_EQ(text_of(ZipArchive(bytes_of(changed), "m.zip").members().at(0).data), "12345") << at;
  }
}

}  // namespace
}  // namespace rrhf::format
