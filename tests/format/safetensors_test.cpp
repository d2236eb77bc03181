#include "rrhf/format/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "archives.h"
#include "rrhf/core/error.h"

namespace rrhf::format {
namespace {

using testing::bytes_of;

// A file with this header text and this many bytes of buffer.
std::string file_with(const std::string& header, std::size_t buffer) {
  std::string prefix(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(prefix.data(), &length, 8);
  return prefix + header + std::string(buffer, '\1');
}

void expect_refused(const std::string& file, const std::string& words) {
  try {
    parse_safetensors(bytes_of(file), "m.safetensors");
    ADD_FAILURE() << "accepted, though: " << words;
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("m.safetensors"), std::string::npos) << error.what();
  }
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  const std::string file =
      file_with(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[6,14]},)"
                R"("a":{"dtype":"BF16","shape":[3,1],"data_offsets":[0,6]}})",
                14);
  const SafetensorsFile parsed = parse_safetensors(bytes_of(file), "m.safetensors");
  ASSERT_EQ(parsed.tensors.size(), 2u);
  EXPECT_EQ(parsed.tensors[0].name, "a");
  EXPECT_EQ(parsed.tensors[0].shape, (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(parsed.tensors[1].data.size(), 8u);
  EXPECT_EQ(parsed.metadata.at("format"), "pt");
}

TEST(Safetensors, ReadsWhatItsOwnHeaderSays) {
  const std::vector<SafetensorsSpec> specs{{"x", "F64", {2, 3}}, {"scalar", "F16", {}}, {"none", "F32", {0, 4}}};
  const std::string header = safetensors_header(specs, {});
  EXPECT_EQ(header.size() % 8, 0u);
  const std::string file = header + std::string(48 + 2, '\0');
  const SafetensorsFile parsed = parse_safetensors(bytes_of(file), "m.safetensors");
  ASSERT_EQ(parsed.tensors.size(), 3u);
  EXPECT_EQ(parsed.tensors[0].data.size(), 48u);
}

TEST(Safetensors, RefusesWhatDoesNotFit) {
  expect_refused("abc", "are no safetensors file");
  expect_refused(std::string(8, '\xff') + "{}", "truncated");
  expect_refused(file_with(std::string("\x00\x10", 2), 0), "not JSON");
  expect_refused(file_with("[]", 0), "not an object");
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  expect_refused(file_with(entry("F32", "[2]", "[0,8]"), 4), "lie outside the buffer of 4");
  expect_refused(file_with(entry("F32", "[2]", "[0,4]"), 4), "need 8 bytes, the offsets give 4");
  expect_refused(file_with(entry("F33", "[1]", "[0,4]"), 4), "dtype F33 is not known");
  expect_refused(file_with(entry("F32", "[-1]", "[0,4]"), 4), "whole number from 0");
  expect_refused(file_with(entry("F32", "[4611686018427387904,4]", "[0,4]"), 4), "overflows");
  expect_refused(file_with(entry("F32", "[1]", "[4,0]"), 4), "lie outside");
  expect_refused(file_with(entry("F32", "[1]", "[0]"), 4), "needs two data_offsets");
  expect_refused(file_with(R"({"t":{"dtype":"F32"}})", 4), "needs dtype, shape and data_offsets");
  expect_refused(file_with(entry("F32", "[1]", "[0,4]"), 6), "the last 2 bytes belong to no tensor");
  expect_refused(file_with(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                           R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                           4),
                 "overlaps");
  const std::string nested = R"({"t":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":)" + std::string(1000, '[');
  expect_refused(file_with(nested, 4), "nested deeper");
  expect_refused(file_with(std::string(1000, '['), 0), "not an object");
}

TEST(Safetensors, RefusesWhatMeansTwoThings) {
  const std::string t = R"("t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  expect_refused(file_with("{" + t + "," + t + "}", 4), "t: stands there twice");
  expect_refused(file_with(R"({"t":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4),
                 "t: repeats a key");
  expect_refused(file_with(R"({"__metadata__":{"a":"1","a":"2"},)" + t + "}", 4), "__metadata__: repeats a key");
  expect_refused(file_with(R"({"__metadata__":{},"__metadata__":{},)" + t + "}", 4),
                 "__metadata__: stands there twice");
}

TEST(Safetensors, RefusesWrongTypes) {
  expect_refused(file_with("1", 0), "not an object");
  expect_refused(file_with(R"({"t":1})", 0), "t: needs dtype, shape and data_offsets");
  expect_refused(file_with(R"({"t":[]})", 0), "t: needs dtype, shape and data_offsets");
  expect_refused(file_with(R"({"__metadata__":{"a":1}})", 0), "must map names to texts");
  expect_refused(file_with(R"({"__metadata__":{"a":{}}})", 0), "must map names to texts");
  expect_refused(file_with(R"({"t":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", 4), "has the wrong type");
  expect_refused(file_with(R"({"t":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4), "has the wrong type");
  expect_refused(file_with(R"({"t":{"dtype":"F32","shape":"1","data_offsets":[0,4]}})", 4), "has the wrong type");
  expect_refused(file_with(R"({"t":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", 4), "whole number from 0");
  expect_refused(file_with(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4), "needs two data_offsets");
}

TEST(Safetensors, TakesNothingBesideTheObject) {
  const std::string t = R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  EXPECT_EQ(parse_safetensors(bytes_of(file_with(t + "  \n", 4)), "m.safetensors").tensors.size(), 1u);
  expect_refused(file_with(t + '\0' + std::string(2700, 'x'), 4), "not JSON at byte 55, a NUL");
  expect_refused(file_with(t + '\0', 4), "not JSON at byte 55, a NUL");
  expect_refused(file_with(t + "x", 4), "not JSON");
  expect_refused(file_with("\xef\xbb\xbf" + t, 4), "not an object");
  expect_refused(file_with(" " + t, 4), "not an object");
}

TEST(Safetensors, PassesOverKeysItDoesNotKnow) {
  const std::string file =
      file_with(R"({"t":{"x":{"dtype":[1,{"y":null}]},"dtype":"F32","shape":[1],"data_offsets":[0,4],"z":"?"}})", 4);
  const SafetensorsFile parsed = parse_safetensors(bytes_of(file), "m.safetensors");
  EXPECT_EQ(parsed.tensors.at(0).dtype, "F32");
  EXPECT_EQ(parsed.tensors.at(0).shape, std::vector<std::int64_t>{1});
}

TEST(Safetensors, NumbersInsideUnknownKeysBelongToNobody) {
  // Found by fuzzing: the 7 was added to the shape of the tensor before, which no longer stood where it had.
  const std::string file = file_with(R"({"a":{"dtype":"F32","data_offsets":[0,4],"shape":[1]},)"
                                     R"("b":{"x":{"y":7},"dtype":"F32","shape":[1],"z":{"y":7},"data_offsets":[4,8]}})",
                                     8);
  const SafetensorsFile parsed = parse_safetensors(bytes_of(file), "m.safetensors");
  EXPECT_EQ(parsed.tensors.at(0).shape, std::vector<std::int64_t>{1});
  EXPECT_EQ(parsed.tensors.at(1).shape, std::vector<std::int64_t>{1});
}

TEST(Safetensors, ClaimsOfSizeAllocateNothing) {
  expect_refused(std::string("\0\0\0\0\0\0\0\x10{}", 10), "claims a header of 1152921504606846976 bytes");
  const auto entry = [](const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  expect_refused(file_with(entry("[288230376151711744]", "[0,1152921504606846976]"), 4), "lie outside the buffer");
  expect_refused(file_with(entry("[1]", "[18446744073709551612,18446744073709551615]"), 4), "lie outside the buffer");
  expect_refused(file_with(entry("[18446744073709551615]", "[0,4]"), 4), "overflows");
  expect_refused(file_with(entry("[0,4611686018427387904,4611686018427387904]", "[0,0]"), 0), "overflows");
  expect_refused(file_with(entry("[99999999999999999999999]", "[0,4]"), 4), "whole number from 0");
}

TEST(Safetensors, CountsExtentsBeforeItKeepsThem) {
  std::string extents;
  for (int i = 0; i < 65; ++i) extents += i == 0 ? "1" : ",1";
  expect_refused(file_with(R"({"x":{"dtype":"F32","shape":[)" + extents + R"(],"data_offsets":[0,4]}})", 4),
                 "more numbers in its shape");
  std::string metadata;
  for (int i = 0; i < 10'001; ++i) metadata += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":\"v\"";
  expect_refused(file_with(R"({"__metadata__":{)" + metadata + "}}", 0), "more than 10000 entries");
}

TEST(Safetensors, SaysWhatStandsInItsPlace) {
  expect_refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer");
  expect_refused("<html><body>404</body></html>", "web page");
  expect_refused("", "is empty");
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string file = file_with(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  parse_safetensors(bytes_of(file), "m.safetensors");
  for (std::size_t length = 0; length < file.size(); ++length) expect_refused(file.substr(0, length), "safetensors");
}

TEST(Safetensors, RefusesToWriteADtypeItDoesNotKnow) {
  const std::vector<SafetensorsSpec> specs{{"x", "C64", {1}}};
  EXPECT_THROW(safetensors_header(specs, {}), Error);
}

}  // namespace
}  // namespace rrhf::format
