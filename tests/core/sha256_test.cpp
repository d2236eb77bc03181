#include "rrhf/core/sha256.h"

#include "tests/core/support.h"

namespace rrhf {
namespace {

using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string hash(std::string_view text) { return sha256_of(text); }

// The examples of FIPS 180-4 (NIST's csrc.nist.gov/groups/ST/toolkit/examples).
constexpr const char* of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* of_a_million_a = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, GivesThePublishedExamples) {
  EXPECT_EQ(hash(""), of_nothing);
  EXPECT_EQ(hash("abc"), of_abc);
  EXPECT_EQ(hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(Sha256, TakesBytesInAnyPieces) {
  const std::string million(1'000'000, 'a');
  Sha256 sha;
  for (std::size_t at = 0, size = 1; at < million.size(); at += size, size = size * 3 % 7919 + 1) {
    sha.update(bytes(std::string_view(million).substr(at, size)));
  }
  Sha256 moved(std::move(sha));
  EXPECT_EQ(moved.hex(), of_a_million_a);
}

TEST(Sha256, HashesFilesAndTellsTheBytes) {
  const TemporaryFolder folder;
  std::int64_t told = 0;
  const auto path = folder.write("x", std::string(10'000'000, 'a'));
  const std::string hash = sha256_of_file(path, [&](std::int64_t bytes) { told += bytes; });
  EXPECT_EQ(told, 10'000'000);
  EXPECT_EQ(hash, "01f4a87c04b40af59aadc0e812293509709c9a8763a60b7f9e19303322f8b03c");  // sha256sum
  EXPECT_EQ(sha256_of_file(folder.write("empty", "")), of_nothing);
  EXPECT_TRUE(holds(error_of([&] { sha256_of_file(folder.path() / "absent"); }), "absent: No such file"));
  EXPECT_TRUE(holds(error_of([&] { sha256_of_file(folder.path()); }), "could not be read"));
}

TEST(FileHashing, HashesBesideAndKeepsTheOrder) {
  const TemporaryFolder folder;
  FileHashing hashing({folder.write("b", "abc"), folder.write("a", "")});
  const std::vector<FileHash> expected{{"b", 3, of_abc}, {"a", 0, of_nothing}};
  EXPECT_EQ(hashing.wait(), expected);
  EXPECT_TRUE(hashing.finished());
  EXPECT_EQ(hashing.bytes_done(), hashing.bytes_total());
  EXPECT_EQ(hashing.bytes_total(), 3);
}

TEST(FileHashing, SaysWhatItCannotRead) {
  const TemporaryFolder folder;
  EXPECT_TRUE(holds(error_of([&] { FileHashing hashing({folder.path() / "absent"}); }), "absent"));
  // A folder has a size and can't be read: the thread's error reaches the one who waits.
  std::filesystem::create_symlink(folder.path(), folder.path() / "link");
  EXPECT_TRUE(holds(error_of([&] { FileHashing({folder.path() / "link"}).wait(); }), "link"));
}

TEST(FileHashing, EndsWhenNobodyWaits) {
  const TemporaryFolder folder;
  const auto path = folder.write("x", std::string(64'000'000, 'a'));
  std::vector<std::filesystem::path> often(100, path);  // 6.4 GB: the test would be noticed
  EXPECT_NO_THROW(FileHashing{often});
}

}  // namespace
}  // namespace rrhf
