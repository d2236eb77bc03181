#include "rrhf/checkpoint/folder_writer.h"

#include <ATen/ATen.h>

#include "rrhf/checkpoint/tensor_source.h"
#include "rrhf/core/file.h"
#include "rrhf/core/json.h"
#include "tests/core/support.h"

namespace rrhf::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

at::Tensor counted(at::IntArrayRef shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return at::arange(count, at::TensorOptions().dtype(at::kFloat)).reshape(shape);
}

at::Tensor read(const fs::path& path, const std::string& name) {
  const TensorSource source(path);
  return source.tensor(*source.find(name)).clone();
}

// Bytes of content a safetensors file has behind its header.
std::string content(const fs::path& path) {
  const std::string file = read_file(path);
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  return file.substr(sizeof header + header);
}

TEST(TensorFileWriter, WritesWhatItWasGivenWhateverTheLayout) {
  const TemporaryFolder folder;
  const at::Tensor base = counted({6, 4});
  TensorFileWriter writer(folder.path() / "x.safetensors", {{"plain", at::kFloat, {6, 4}},
                                                            {"turned", at::kFloat, {4, 6}},
                                                            {"half", at::kHalf, {2, 4}},
                                                            {"empty", at::kFloat, {0, 3}},
                                                            {"scalar", at::kDouble, {}}});
  writer.write(base);
  writer.write(base.t());
  writer.write(base.narrow(0, 3, 2));
  writer.write(at::empty({0, 3}));
  EXPECT_FALSE(writer.complete());
  writer.write(at::scalar_tensor(0.1, at::kDouble));
  EXPECT_TRUE(writer.complete());
  EXPECT_EQ(writer.finish().sha256, "");
  const fs::path path = folder.path() / "x.safetensors";
  EXPECT_TRUE(at::equal(read(path, "plain"), base));
  EXPECT_TRUE(at::equal(read(path, "turned"), base.t()));
  EXPECT_TRUE(at::equal(read(path, "half"), base.narrow(0, 3, 2).to(at::kHalf)));
  EXPECT_EQ(read(path, "scalar").item<double>(), 0.1);
}

TEST(TensorFileWriter, TakesATensorInPartsAndHashesTheFile) {
  const TemporaryFolder folder;
  const at::Tensor whole = counted({5, 3});
  TensorFileWriter in_parts(folder.path() / "parts", {{"x", at::kFloat, {5, 3}}, {"y", at::kHalf, {3}}}, true);
  in_parts.write_part(whole.narrow(0, 0, 2).clone());  // gone after the call, and hashed nevertheless
  in_parts.write_part(whole.narrow(0, 2, 2));
  in_parts.write_part(whole[4]);
  in_parts.write(whole[1]);
  const FileHash hash = in_parts.finish();
  TensorFileWriter at_once(folder.path() / "once", {{"x", at::kFloat, {5, 3}}, {"y", at::kHalf, {3}}});
  at_once.write(whole);
  at_once.write(whole[1]);
  EXPECT_EQ(at_once.finish().bytes, hash.bytes);
  EXPECT_EQ(read_file(folder.path() / "parts"), read_file(folder.path() / "once"));
  EXPECT_EQ(hash.sha256, sha256_of_file(folder.path() / "parts"));
  EXPECT_EQ(hash.name, "parts");
  EXPECT_EQ(hash.bytes, static_cast<std::int64_t>(fs::file_size(folder.path() / "parts")));
}

TEST(TensorFileWriter, LargeTensorsPassThroughItsBufferWhole) {
  const TemporaryFolder folder;
  // 40 MB: several of the pieces it writes; a transposed source, so that each row is gathered.
  const at::Tensor large = at::rand({2000, 5000}).t();
  TensorFileWriter writer(folder.path() / "x.safetensors",
                          {{"x", at::kBFloat16, {5000, 2000}}, {"y", at::kFloat, {2000, 5000}}}, true);
  writer.write(large);
  writer.write(large.t());
  EXPECT_EQ(writer.finish().sha256, sha256_of_file(folder.path() / "x.safetensors"));
  EXPECT_TRUE(at::equal(read(folder.path() / "x.safetensors", "x"), large.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(read(folder.path() / "x.safetensors", "y"), large.t()));
}

TEST(TensorFileWriter, RefusesWhatWasNotAnnounced) {
  const TemporaryFolder folder;
  const auto writer_of = [&](at::IntArrayRef shape) {
    return TensorFileWriter(folder.path() / "x", {{"a.weight", at::kFloat, shape.vec()}});
  };
  EXPECT_TRUE(holds(error_of<Error>([&] {
                      writer_of({2, 3}).write(counted({3, 2}));
                    }),
                    "a.weight is given as [3, 2], [2, 3] was announced"));
  EXPECT_TRUE(holds(error_of<Error>([&] { writer_of({2, 3}).write_part(counted({7})); }), "more elements than [2, 3]"));
  EXPECT_TRUE(holds(error_of<Error>([&] { writer_of({2, 3}).finish(); }), "a.weight was announced and not written"));
  const auto half = [&] {
    TensorFileWriter writer = writer_of({2, 3});
    writer.write_part(counted({3}));
    writer.write(counted({2, 3}));  // the first must be ended before
  };
  EXPECT_TRUE(holds(error_of<Error>(half), "a.weight"));
  const auto twice = [&] {
    TensorFileWriter writer = writer_of({1});
    writer.write(counted({1}));
    writer.write(counted({1}));
  };
  EXPECT_TRUE(holds(error_of<Error>(twice), "all tensors are written already"));
  EXPECT_THROW(TensorFileWriter(folder.path() / "x", {{"a", at::kLong, {1}}}), Error);
}

TEST(TensorFileWriter, SaysWhyItCannotWrite) {
  const TemporaryFolder folder;
  EXPECT_TRUE(holds(error_of<Error>([&] { TensorFileWriter(folder.path() / "absent" / "x", {}); }),
                    "absent/x: could not be created: No such file"));
  EXPECT_TRUE(holds(error_of<Error>([] {
                      TensorFileWriter("/dev/full", {{"a", at::kFloat, {4}}});
                    }),
                    "/dev/full: could not be written: No space left"));
}

TEST(FolderWriter, WritesOneFileWhenAllFits) {
  const TemporaryFolder folder;
  FolderWriter writer(folder.path(), {{"a", at::kFloat, {2}}, {"b", at::kFloat, {3}}}, {.shard_bytes = 20});
  writer.write(counted({2}));
  writer.write(counted({3}));
  const auto files = writer.finish();
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].name, "model.safetensors");
  EXPECT_EQ(folder.entries(), 1);
}

TEST(FolderWriter, BeginsAShardWhereTheNextTensorWouldPassItsSize) {
  const TemporaryFolder folder;
  // 8 + 12 bytes fill a shard of 20; 24 are too large for any and stand alone; 4 begin the last.
  const std::vector<TensorSpec> specs{
      {"a", at::kFloat, {2}}, {"b", at::kFloat, {3}}, {"c", at::kFloat, {6}}, {"d", at::kHalf, {2}}};
  FolderWriter writer(folder.path(), specs, {.shard_bytes = 20, .sha256 = true});
  for (const TensorSpec& spec : specs) writer.write(counted(spec.shape));
  const auto files = writer.finish();
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files[1].name, "model-00002-of-00003.safetensors");
  for (const FileHash& file : files) EXPECT_EQ(file.sha256, sha256_of_file(folder.path() / file.name));
  EXPECT_EQ(content(folder.path() / files[0].name).size(), 20u);
  const Json index = parse_json(read_file(folder.path() / "model.safetensors.index.json"), "test", "index");
  EXPECT_EQ(index["metadata"]["total_size"], 20 + 24 + 4);
  EXPECT_EQ(index["weight_map"]["b"], files[0].name);
  EXPECT_EQ(index["weight_map"]["c"], files[1].name);
  EXPECT_EQ(index["weight_map"]["d"], files[2].name);
  EXPECT_TRUE(at::equal(read(folder.path(), "c"), counted({6})));
  EXPECT_EQ(TensorSource(folder.path()).tensors().size(), 4u);
}

TEST(FolderWriter, SeesAFullDiskBeforeItWrites) {
  const TemporaryFolder folder;
  // The first shard would fit, all together would not: 8 + 2^50 bytes.
  const std::vector<TensorSpec> specs{{"a", at::kFloat, {2}}, {"b", at::kFloat, {1 << 24, 1 << 24}}};
  const std::string message = error_of<Error>([&] { FolderWriter(folder.path(), specs, {.shard_bytes = 8}); });
  EXPECT_TRUE(holds(message, "1,125,899,906,842,632 bytes are to be written there, its disk has "));
  EXPECT_EQ(folder.entries(), 0);
}

TEST(FolderWriter, RefusesRepeatedNamesAndUnfinishedFolders) {
  const TemporaryFolder folder;
  const std::vector<TensorSpec> twice{{"a", at::kFloat, {2}}, {"a", at::kFloat, {2}}};
  EXPECT_TRUE(holds(error_of<Error>([&] { FolderWriter(folder.path(), twice, {}); }), "a would be written twice"));
  const auto unfinished = [&] {
    FolderWriter writer(folder.path(), {{"a", at::kFloat, {2}}, {"b", at::kFloat, {2}}}, {.shard_bytes = 8});
    writer.write(counted({2}));
    writer.finish();
  };
  EXPECT_TRUE(holds(error_of<Error>(unfinished), "b was announced and not written"));
}

}  // namespace
}  // namespace rrhf::checkpoint
