#include "rrhf/format/torch_archive.h"

#include <limits>

#include "archives.h"
#include "support.h"

namespace rrhf::format {
namespace {

using namespace rrhf::testing;
using namespace std::string_literals;

// 24 bytes: six floats.
const std::string six_floats = "aaaabbbbccccddddeeeeffff";

std::string archive_of(const std::vector<FakeTensor>& tensors, const std::vector<std::string>& storages) {
  return make_zip(archive_members(state_dict_pickle(tensors), storages), {.zip64 = true});
}

TorchArchive open_archive(const std::string& file) { return parse_torch_archive(bytes_of(file), "m.bin"); }

std::string archive_refusal(const std::string& file) {
  const std::string message = refusal_of([&] { open_archive(file); });
  if (message != "accepted") {
    EXPECT_TRUE(says(message, "m.bin"));
  }
  return message;
}
std::string refusal_of_tensor(const FakeTensor& tensor) { return archive_refusal(archive_of({tensor}, {six_floats})); }
// Of an archive whose data.pkl holds this.
std::string refusal_of_pickle(const std::string& pickle) {
  return archive_refusal(make_zip(archive_members(pickle, {six_floats})));
}

TEST(TorchArchive, GivesTensorsInTheOrderOfTheDict) {
  const std::string file = archive_of(
      {{.name = "b"},
       {.name = "a", .storage_class = "HalfStorage", .key = "1", .numel = 4, .offset = 1, .size = {3}, .stride = {1}}},
      {six_floats, "01234567"});
  const TorchArchive archive = open_archive(file);
  ASSERT_EQ(archive.tensors.size(), 2u);
  EXPECT_TRUE(archive.has_checksums);
  EXPECT_EQ(archive.tensors[0].name, "b");
  EXPECT_EQ(archive.tensors[0].dtype, "F32");
  EXPECT_EQ(archive.tensors[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(archive.tensors[0].strides, (std::vector<std::int64_t>{3, 1}));
  const TorchEntry& a = archive.tensors[1];
  EXPECT_EQ(a.dtype, "F16");
  EXPECT_EQ(a.offset, 1);
  EXPECT_EQ(a.extent(), 3);
  const auto data = archive.storages[a.storage].data;
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(data.data()), data.size()), "01234567");
}

TEST(TorchArchive, SharedAndTransposedViewsKeepOneStorage) {
  // A 2 x 3 tensor, its transpose, and its last column: offset 2, stride 3, reaching element 5.
  const TorchArchive archive =
      open_archive(archive_of({{.name = "w"},
                               {.name = "t", .size = {3, 2}, .stride = {1, 3}},
                               {.name = "c", .offset = 2, .size = {2}, .stride = {3}},
                               {.name = "one", .offset = 5, .size = {}, .stride = {}},
                               {.name = "none", .offset = 6, .size = {0, 3}, .stride = {3, 1}}},
                              {six_floats}));
  ASSERT_EQ(archive.tensors.size(), 5u);
  EXPECT_EQ(archive.storages.size(), 1u);
  EXPECT_EQ(archive.tensors[1].extent(), 6);
  EXPECT_EQ(archive.tensors[2].extent(), 4);
  EXPECT_EQ(archive.tensors[3].extent(), 1);
  EXPECT_EQ(archive.tensors[3].numel(), 1);
  EXPECT_EQ(archive.tensors[4].extent(), 0);
}

TEST(TorchArchive, KnowsEveryStorageClassOfPlainTensors) {
  const std::vector<std::pair<std::string, std::string>> classes{
      {"DoubleStorage", "F64"}, {"FloatStorage", "F32"}, {"HalfStorage", "F16"},  {"BFloat16Storage", "BF16"},
      {"LongStorage", "I64"},   {"IntStorage", "I32"},   {"ShortStorage", "I16"}, {"CharStorage", "I8"},
      {"ByteStorage", "U8"},    {"BoolStorage", "BOOL"}};
  const std::vector<std::int64_t> element_bytes{8, 4, 2, 2, 8, 4, 2, 1, 1, 1};
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const std::string file =
        archive_of({{.storage_class = classes[i].first, .numel = 24 / element_bytes[i], .size = {1}, .stride = {1}}},
                   {six_floats});
    EXPECT_EQ(open_archive(file).tensors.at(0).dtype, classes[i].second);
  }
  EXPECT_TRUE(says(refusal_of_tensor({.storage_class = "QInt8Storage"}), "asks for torch.QInt8Storage"));
  EXPECT_TRUE(
      says(refusal_of_tensor({.storage_class = "storage.UntypedStorage"}), "asks for torch.storage.UntypedStorage"));
}

TEST(TorchArchive, ReadsParameters) {
  const std::string file = make_zip(
      archive_members(pickle_of("}" + text_op("w") + global_op("torch._utils", "_rebuild_parameter") + tensor_ops({}) +
                                "\x88" + global_op("collections", "OrderedDict") + ")R\x87Rs"),
                      {six_floats}));
  EXPECT_EQ(open_archive(file).tensors.at(0).shape, (std::vector<std::int64_t>{2, 3}));
}

TEST(TorchArchive, RunsNothing) {
  // What pickle.dumps gives for an object whose __reduce__ is (os.system, ("touch /tmp/owned",)).
  const std::string call = global_op("posix", "system") + text_op("touch /tmp/owned") + "\x85R";
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of(call)), "archive/data.pkl: byte 2 (GLOBAL): asks for posix.system"));
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of("}" + text_op("w") + call + "s")), "posix.system"));
  EXPECT_TRUE(
      says(refusal_of_pickle(pickle_of(global_op("builtins", "eval") + text_op("1") + "\x85R")), "builtins.eval"));
}

TEST(TorchArchive, NamesWhatIsNotATensor) {
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of("]")), "holds a list, not a dict of tensors"));
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of(tensor_ops({}))), "holds a call, not a dict of tensors"));
  const std::string nested = "}" + text_op("epoch") + "K\3s" + text_op("state_dict") + "}" + text_op("w") +
                             tensor_ops({}) + "ss" + text_op("w") + tensor_ops({}) + "s";
  const std::string message = refusal_of_pickle(pickle_of(nested));
  EXPECT_TRUE(
      says(message, "a dict of tensors is needed; epoch is an integer, state_dict is a dict; save the dict of"));
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of("}K\1" + tensor_ops({}) + "s")), "(key: an integer)"));
  std::string many = "}";
  for (int i = 0; i < 12; ++i) many += text_op("n" + std::to_string(i)) + "Ns";
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of(many)), "n9 is None and 2 more"));
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of("}" + text_op("w") + global_op("torch", "FloatStorage") + ")Rs")),
                   "w: is not a tensor"));
  EXPECT_TRUE(says(archive_refusal(archive_of({{}, {}}, {six_floats})), "w stands there twice"));
}

TEST(TorchArchive, RefusesTensorsThatDoNotFitTheirStorage) {
  const std::int64_t huge = std::int64_t{1} << 60;
  EXPECT_TRUE(says(refusal_of_tensor({.key = "7"}), "w: its storage archive/data/7 is not in the archive"));
  EXPECT_TRUE(says(refusal_of_tensor({.key = "../data.pkl"}), "archive/data/../data.pkl is not in the archive"));
  EXPECT_TRUE(says(refusal_of_tensor({.numel = 7}), "claims 7 elements of F32, archive/data/0 holds 6"));
  EXPECT_TRUE(says(refusal_of_tensor({.numel = huge}), "claims 1152921504606846976 elements"));
  EXPECT_TRUE(says(refusal_of_tensor({.numel = -1}), "described wrongly"));
  EXPECT_TRUE(says(refusal_of_tensor({.offset = 1}), "reaches element 6 of a storage of 6"));
  EXPECT_TRUE(says(refusal_of_tensor({.offset = -1}), "broken storage offset"));
  EXPECT_TRUE(says(refusal_of_tensor({.offset = std::numeric_limits<std::int64_t>::max()}), "larger than its storage"));
  EXPECT_TRUE(says(refusal_of_tensor({.size = {2, 4}}), "larger than its storage of 6"));
  EXPECT_TRUE(says(refusal_of_tensor({.stride = {4, 1}}), "reaches element 6"));
  EXPECT_TRUE(says(refusal_of_tensor({.stride = {huge * 4, huge * 4}}), "larger than its storage"));
  EXPECT_TRUE(says(refusal_of_tensor({.size = {huge, huge}, .stride = {0, 0}}), "larger than its storage"));
  // One number broadcast to a million: no allocation beyond what the file warrants.
  EXPECT_TRUE(says(refusal_of_tensor({.size = {1000, 1000}, .stride = {0, 0}}), "larger than its storage of 6"));
  EXPECT_TRUE(says(refusal_of_tensor({.size = {0, huge, huge}, .stride = {1, 1, 1}}), "larger than its storage"));
  EXPECT_TRUE(says(refusal_of_tensor({.offset = 7, .size = {0}, .stride = {1}}), "begins beyond its storage"));
  EXPECT_TRUE(says(refusal_of_tensor({.size = {-2, -3}}), "its size must be whole numbers from 0"));
  EXPECT_TRUE(says(refusal_of_tensor({.stride = {-3, 1}}), "its stride must be whole numbers from 0"));
  EXPECT_TRUE(says(refusal_of_tensor({.stride = {1}}), "2 sizes and 1 strides"));
  EXPECT_TRUE(says(refusal_of_tensor({.size = std::vector<std::int64_t>(17, 1)}), "has 17 dimensions"));
}

// A tensor's opcodes with one part replaced.
std::string refusal_with(const std::string& part, const std::string& instead) {
  std::string ops = tensor_ops({});
  const std::size_t at = ops.find(part);
  EXPECT_NE(at, std::string::npos);
  ops.replace(at, part.size(), instead);
  return refusal_of_pickle(pickle_of("}" + text_op("w") + ops + "s"));
}

TEST(TorchArchive, RefusesTensorsThatAreMadeWrongly) {
  EXPECT_TRUE(says(refusal_with("tQ", "t"), "has no storage"));
  EXPECT_TRUE(says(refusal_with(text_op("storage"), text_op("module")), "described wrongly"));
  EXPECT_TRUE(says(refusal_with(text_op("cpu"), ""), "described wrongly"));
  EXPECT_TRUE(says(refusal_with(text_op("0"), "K\1"), "described wrongly"));
  EXPECT_TRUE(says(refusal_with(global_op("torch", "FloatStorage"), "N"), "storage of an unknown class"));
  EXPECT_TRUE(says(refusal_with(global_op("torch", "FloatStorage"), global_op("collections", "OrderedDict")),
                   "storage of an unknown class"));
  EXPECT_TRUE(says(refusal_with(tuple_op({2, 3}), "]"), "its size is a list, not a tuple"));
  EXPECT_TRUE(says(refusal_with("\x89", ""), "wrong number of arguments"));
  EXPECT_EQ(refusal_with("\x89", "\x89" + global_op("collections", "OrderedDict") + ")R"), "accepted");  // 7: metadata
  EXPECT_TRUE(
      says(refusal_of_pickle(pickle_of("}" + text_op("w") + global_op("torch._utils", "_rebuild_parameter") + ")Rs")),
           "wrong number of arguments"));
}

TEST(TorchArchive, RefusesMetadataThatChangesTheValues) {
  std::string ops = tensor_ops({});
  ops.insert(ops.size() - 2, "}" + text_op("neg") + "\x88s");  // before TUPLE and REDUCE
  EXPECT_TRUE(says(refusal_of_pickle(pickle_of("}" + text_op("w") + ops + "s")), "carries metadata that changes it"));
}

TEST(TorchArchive, ChecksumsAreCheckedWhereThereAreSome) {
  auto members = archive_members(state_dict_pickle({{}}), {six_floats});
  members[0].crc = 1;
  EXPECT_TRUE(says(archive_refusal(make_zip(members)), "archive/data.pkl has CRC-32"));
  members[0].crc = {};
  members[2].crc = 1;
  const std::string damaged = make_zip(members);
  const TorchArchive archive = open_archive(damaged);  // storages are checked when read
  EXPECT_TRUE(says(refusal_of([&] { verify_member(archive.storages.at(0), "m.bin"); }), "archive/data/0 has CRC-32"));
  for (FakeMember& member : members) member.crc = 0;
  const std::string without = make_zip(members);
  EXPECT_FALSE(open_archive(without).has_checksums);
}

TEST(TorchArchive, RefusesWhatIsNotOne) {
  EXPECT_TRUE(says(archive_refusal(""), "is empty"));
  EXPECT_TRUE(says(archive_refusal("version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"));
  EXPECT_TRUE(says(archive_refusal("<!DOCTYPE html><html>"), "web page"));
  // The magic number 0x1950a86a20f9469cfc6c as the first of PyTorch's old pickles.
  const std::string pickle = "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3."s;
  EXPECT_TRUE(says(archive_refusal(pickle), "bare pickle as PyTorch before 1.6"));
  EXPECT_TRUE(says(refusal_of([&] { parse_torch_archive(std::as_bytes(std::span(pickle)), "it's/m \"1\".bin"); }),
                   R"x(weights_only=True), f)" 'it'\''s/m "1".bin')x"));
  EXPECT_TRUE(says(archive_refusal("sys_info" + std::string(249, '\0') + "ustar"), "a tar as PyTorch before 1.6"));
  EXPECT_TRUE(says(archive_refusal(le<std::uint64_t>(2) + "{}"), "name it *.safetensors"));
  EXPECT_TRUE(says(archive_refusal("GGUF and more"), "is no zip archive"));
  EXPECT_TRUE(says(archive_refusal(make_zip({{.name = "a/readme", .data = "x"}})), "without a data.pkl"));
  EXPECT_TRUE(says(archive_refusal(make_zip({{.name = "data.pkl", .data = "x"}})), "without a data.pkl"));
  auto members = archive_members(state_dict_pickle({{}}), {six_floats});
  members[1].data = "big";
  EXPECT_TRUE(says(archive_refusal(make_zip(members)), "its byte order is \"big\""));
  members[1].name = "other/data.pkl";
  EXPECT_TRUE(says(archive_refusal(make_zip(members)), "two state dicts"));
}

TEST(TorchArchive, RefusesEveryTruncation) {
  const std::string file = archive_of({{}}, {six_floats});
  EXPECT_EQ(open_archive(file).tensors.size(), 1u);
  for (std::size_t length = 0; length < file.size(); ++length) {
    EXPECT_NE(archive_refusal(file.substr(0, length)), "accepted") << length;
  }
}

}  // namespace
}  // namespace rrhf::format
