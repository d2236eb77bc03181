#include "rrhf/checkpoint/tensor_source.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "rrhf/checkpoint/tensor_file.h"
#include "tests/core/support.h"
#include "tests/format/archives.h"

namespace rrhf::checkpoint {
namespace {

using namespace rrhf::testing;

std::string floats(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

class TensorSources : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& content) {
    return folder_.write(name, content);
  }

  // A safetensors file of float32 vectors.
  void safetensors(const std::string& name, const std::vector<std::pair<std::string, std::vector<float>>>& tensors) {
    std::vector<model::NamedTensor> named;
    for (const auto& [tensor, values] : tensors) named.push_back({tensor, at::tensor(values)});
    write_tensor_file(folder_.path() / name, named, at::kFloat);
  }

  // A .bin of float32 vectors, each with a storage of its own.
  void bin(const std::string& name, const std::vector<std::pair<std::string, std::vector<float>>>& tensors) {
    std::vector<FakeTensor> fakes;
    std::vector<std::string> storages;
    for (const auto& [tensor, values] : tensors) {
      const auto count = static_cast<std::int64_t>(values.size());
      fakes.push_back(
          {.name = tensor, .key = std::to_string(storages.size()), .numel = count, .size = {count}, .stride = {1}});
      storages.push_back(floats(values));
    }
    write(name, make_zip(archive_members(state_dict_pickle(fakes), storages)));
  }

  void index(const std::string& name, const std::string& weight_map) {
    write(name, R"({"metadata": {"total_size": 1}, "weight_map": {)" + weight_map + "}}");
  }

  std::string refusal(const std::filesystem::path& path) {
    return error_of([&] { TensorSource source(path); });
  }
  std::string refusal() { return refusal(folder_.path()); }

  TemporaryFolder folder_;
};

std::vector<float> values_of(const TensorSource& source, const std::string& name) {
  const at::Tensor tensor = source.tensor(*source.find(name)).contiguous();
  return {tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel()};
}

std::vector<std::string> names_of(const TensorSource& source) {
  std::vector<std::string> names;
  for (const TensorInfo& info : source.tensors()) names.push_back(info.name);
  return names;
}

TEST_F(TensorSources, ReadsOneFileOfEitherKind) {
  for (const bool torch : {false, true}) {
    const std::string name = torch ? "x.bin" : "x.safetensors";
    torch ? bin(name, {{"b", {1, 2}}, {"a", {3}}}) : safetensors(name, {{"b", {1, 2}}, {"a", {3}}});
    for (const auto& path : {folder_.path() / name, folder_.path()}) {
      const TensorSource source(path);
      EXPECT_EQ(names_of(source), (std::vector<std::string>{"b", "a"}));
      EXPECT_EQ(source.files(), std::vector<std::filesystem::path>{folder_.path() / name});
      EXPECT_EQ(values_of(source, "b"), (std::vector<float>{1, 2}));
      EXPECT_EQ(source.find("c"), nullptr);
      EXPECT_EQ(source.find("b")->numel(), 2);
      EXPECT_EQ(source.find("b")->bytes(), 8);
    }
    std::filesystem::remove(folder_.path() / name);
  }
}

TEST_F(TensorSources, ReadsShardsByEitherIndex) {
  for (const bool torch : {false, true}) {
    const std::string suffix = torch ? ".bin" : ".safetensors", stem = torch ? "pytorch_model" : "model";
    const auto shard = [&](const std::string& name,
                           const std::vector<std::pair<std::string, std::vector<float>>>& all) {
      torch ? bin(name, all) : safetensors(name, all);
    };
    shard("one" + suffix, {{"a", {1}}, {"model.layers.0.self_attn.rotary_emb.inv_freq", {9}}});
    shard("two" + suffix, {{"b", {2}}});
    shard("stray" + suffix, {{"c", {3}}});  // no index names it
    index(stem + suffix + ".index.json", R"("b": "two)" + suffix + R"(", "a": "one)" + suffix + "\"");
    const TensorSource source(folder_.path());
    EXPECT_EQ(names_of(source), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(source.files()[source.find("b")->file].filename(), "two" + suffix);
    EXPECT_EQ(values_of(source, "b"), std::vector<float>{2});
    for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) std::filesystem::remove(entry.path());
  }
}

TEST_F(TensorSources, TakesTheFirstLayoutThatIsThere) {
  // transformers' order, each one found once the one before it is gone.
  write("training_args.bin", "a pickle of other things");
  bin("raw-2.bin", {{"raw bin", {1}}});
  safetensors("raw-1.safetensors", {{"raw safetensors", {1}}});
  bin("shard.pt", {{"indexed bin", {1}}});
  index("pytorch_model.bin.index.json", R"("indexed bin": "shard.pt")");
  bin("pytorch_model.bin", {{"single bin", {1}}});
  safetensors("shard.safetensors", {{"indexed safetensors", {1}}});
  index("model.safetensors.index.json", R"("indexed safetensors": "shard.safetensors")");
  safetensors("model.safetensors", {{"single safetensors", {1}}});
  const auto found = [&] { return names_of(TensorSource(folder_.path())); };
  const auto next = [&](const char* gone) { std::filesystem::remove(folder_.path() / gone); };
  EXPECT_EQ(found(), std::vector<std::string>{"single safetensors"});
  next("model.safetensors");
  EXPECT_EQ(found(), std::vector<std::string>{"indexed safetensors"});
  next("model.safetensors.index.json");
  next("shard.safetensors");
  EXPECT_EQ(found(), std::vector<std::string>{"single bin"});
  next("pytorch_model.bin");
  EXPECT_EQ(found(), std::vector<std::string>{"indexed bin"});
  next("pytorch_model.bin.index.json");
  EXPECT_EQ(found(), std::vector<std::string>{"raw safetensors"});
  next("raw-1.safetensors");
  EXPECT_EQ(found(), std::vector<std::string>{"raw bin"});
  next("raw-2.bin");
  EXPECT_TRUE(holds(refusal(), "holds no weights: neither model.safetensors nor pytorch_model.bin"));
  EXPECT_TRUE(holds(refusal(folder_.path() / "absent"), "no such folder or file"));
}

TEST_F(TensorSources, SharedAndTurnedViewsKeepTheirValues) {
  // 0 1 2
  // 3 4 5 and its transpose, its last column, one element, and no element.
  const std::string pickle = state_dict_pickle({{.name = "w"},
                                                {.name = "t", .size = {3, 2}, .stride = {1, 3}},
                                                {.name = "column", .offset = 2, .size = {2}, .stride = {3}},
                                                {.name = "one", .offset = 4, .size = {}, .stride = {}},
                                                {.name = "none", .offset = 6, .size = {0, 3}, .stride = {3, 1}}});
  write("m.bin", make_zip(archive_members(pickle, {floats({0, 1, 2, 3, 4, 5})})));
  const TensorSource source(folder_.path());
  EXPECT_EQ(values_of(source, "w"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of(source, "t"), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(source.find("t")->shape, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(values_of(source, "column"), (std::vector<float>{2, 5}));
  EXPECT_EQ(values_of(source, "one"), std::vector<float>{4});
  EXPECT_EQ(source.find("one")->numel(), 1);
  EXPECT_EQ(values_of(source, "none"), std::vector<float>{});
  for (const TensorInfo& info : source.tensors()) source.release(info);  // read again from the file
  EXPECT_EQ(values_of(source, "t"), (std::vector<float>{0, 3, 1, 4, 2, 5}));
}

TEST_F(TensorSources, ReadsEachFloatingDtype) {
  // 1.5 is 0x3ff8... in float64, 0x3fc0 in bfloat16 (the upper half of float32's 0x3fc00000), 0x3e00 in float16.
  const std::string pickle = state_dict_pickle(
      {{.name = "f64", .storage_class = "DoubleStorage", .key = "0", .numel = 1, .size = {1}, .stride = {1}},
       {.name = "bf16", .storage_class = "BFloat16Storage", .key = "1", .numel = 1, .size = {1}, .stride = {1}},
       {.name = "f16", .storage_class = "HalfStorage", .key = "2", .numel = 1, .size = {1}, .stride = {1}}});
  write("m.bin", make_zip(archive_members(
                     pickle, {le(std::uint64_t{0x3ff8} << 48), le<std::uint16_t>(0x3fc0), le<std::uint16_t>(0x3e00)})));
  const TensorSource source(folder_.path());
  const std::vector<at::ScalarType> dtypes{at::kDouble, at::kBFloat16, at::kHalf};
  for (std::size_t i = 0; i < dtypes.size(); ++i) {
    EXPECT_EQ(source.tensors()[i].dtype, dtypes[i]);
    EXPECT_EQ(source.tensor(source.tensors()[i]).item<double>(), 1.5);
  }
}

TEST_F(TensorSources, ADamagedStorageIsFoundWhenItIsRead) {
  const std::string pickle = state_dict_pickle({{.name = "good", .key = "0"}, {.name = "bad", .key = "1"}});
  const std::string storage = floats({0, 1, 2, 3, 4, 5});
  auto members = archive_members(pickle, {storage, storage});
  members.back().crc = 1;
  write("m.bin", make_zip(members));
  const TensorSource source(folder_.path());
  EXPECT_EQ(values_of(source, "good").size(), 6u);
  for (int again = 0; again < 2; ++again) {
    EXPECT_TRUE(holds(error_of([&] { source.tensor(*source.find("bad")); }), "m.bin: archive/data/1 has CRC-32"));
  }
}

TEST_F(TensorSources, NamesAllThatIndexAndFilesDisagreeOn) {
  bin("s1.bin", {{"a", {1}}, {"extra", {1}}});
  bin("s2.bin", {{"moved", {1}}});
  index("pytorch_model.bin.index.json",
        R"("a": "s1.bin", "absent": "s2.bin", "moved": "s1.bin", "layers.0.rotary_emb.inv_freq": "s1.bin")");
  const std::string message = refusal();
  EXPECT_TRUE(holds(message, "in the index, in no file: absent (expected in s2.bin)"));
  EXPECT_TRUE(holds(message, "in another file than the index says: moved (in s2.bin, not s1.bin)"));
  EXPECT_TRUE(holds(message, "in a file, not in the index: extra (s1.bin)"));
  EXPECT_EQ(message.find("inv_freq"), std::string::npos) << message;
}

TEST_F(TensorSources, ATensorStandsInOneFile) {
  bin("one.bin", {{"a", {1}}, {"b", {1}}});
  bin("two.bin", {{"b", {2}}});
  EXPECT_TRUE(holds(refusal(), "in two: b (in one.bin and two.bin)"));
}

TEST_F(TensorSources, NamesEveryTensorThatIsNotFloating) {
  const std::string eight(8, '\0');
  write("m.bin",
        make_zip(archive_members(
            state_dict_pickle(
                {{.name = "ids", .storage_class = "LongStorage", .numel = 1, .size = {1}, .stride = {1}},
                 {.name = "w", .key = "1", .numel = 2, .size = {2}, .stride = {1}},
                 {.name = "mask", .storage_class = "BoolStorage", .key = "2", .numel = 8, .size = {8}, .stride = {1}}}),
            {eight, eight, eight})));
  EXPECT_TRUE(holds(refusal(), "these are not: ids (I64), mask (BOOL)"));
}

TEST_F(TensorSources, FilesWithoutTensorsAreNone) {
  write("m.bin", make_zip(archive_members(state_dict_pickle({}), {})));
  EXPECT_TRUE(holds(refusal(), "holds no tensors"));
}

TEST_F(TensorSources, BytesOffTheGridAreCopied) {
  // A header of 61 bytes leaves the floats on odd addresses, as writers before safetensors 0.3 did.
  const std::string header = R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}       )";
  ASSERT_EQ(header.size() % 4, 1u);
  write("m.safetensors", le(static_cast<std::uint64_t>(header.size())) + header + floats({1.5, -2}));
  EXPECT_EQ(values_of(TensorSource(folder_.path()), "t"), (std::vector<float>{1.5, -2}));
}

TEST_F(TensorSources, ReleaseEmptiesTheResidentSet) {
  // 64 MiB, read whole and released: what stays is far below what was read.
  constexpr std::size_t count = std::size_t{16} << 20;
  safetensors("m.safetensors", {{"large", std::vector<float>(count, 1)}});
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    std::int64_t total = 0, pages = 0;
    statm >> total >> pages;
    return pages * 4096;
  };
  const TensorSource source(folder_.path());
  const std::int64_t before = resident();
  EXPECT_EQ(source.tensor(source.tensors()[0]).sum().item<double>(), static_cast<double>(count));
  const std::int64_t read = resident() - before;
  source.release(source.tensors()[0]);
  EXPECT_GT(read, std::int64_t{48} << 20);
  EXPECT_LT(resident() - before, read / 4);
}

// The most this process had in memory since it was last asked, in bytes; nothing where the system doesn't say.
std::optional<std::int64_t> peak_resident() {
  std::ifstream status("/proc/self/status");
  std::int64_t peak = -1;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) peak = std::stoll(line.substr(6)) * 1024;
  }
  std::ofstream reset("/proc/self/clear_refs");
  if (peak < 0 || !(reset << 5 << std::flush)) return std::nullopt;
  return peak;
}

TEST_F(TensorSources, AStorageThatManyTensorsShareIsNotResidentWhileItIsChecked) {
  // 64 MiB in one storage, as a model of one flat parameter is saved: two views of it, of 4 KiB each.
  constexpr std::int64_t count = std::int64_t{16} << 20;
  write("m.bin",
        make_zip(archive_members(
            state_dict_pickle({{.name = "a", .numel = count, .size = {1024}, .stride = {1}},
                               {.name = "b", .numel = count, .offset = count - 1024, .size = {1024}, .stride = {1}}}),
            {std::string(static_cast<std::size_t>(count) * sizeof(float), '\0')})));
  const TensorSource source(folder_.path());
  if (!peak_resident()) GTEST_SKIP() << "this system does not say what a process had in memory at most";
  const std::int64_t before = peak_resident().value_or(0);  // now, since it was just reset
  EXPECT_EQ(source.tensor(*source.find("a")).sum().item<double>(), 0);
  EXPECT_EQ(source.tensor(*source.find("b")).sum().item<double>(), 0);
  EXPECT_LT(peak_resident().value_or(0) - before, std::int64_t{16} << 20);
}

TEST_F(TensorSources, AFileThatIsCutShortMeanwhileIsRefused) {
  bin("x.bin", {{"a", {1, 2}}, {"b", {3}}});
  safetensors("x.safetensors", {{"a", {1, 2}}, {"b", {3}}});
  for (const char* name : {"x.bin", "x.safetensors"}) {
    const auto path = folder_.path() / name;
    const TensorSource source(path);
    EXPECT_EQ(values_of(source, "a"), (std::vector<float>{1, 2}));
    std::filesystem::resize_file(path, 0);  // as a copy onto it begins
    EXPECT_TRUE(holds(error_of([&] { source.tensor(*source.find("b")); }), "it was cut short or written anew")) << name;
  }
}

TEST_F(TensorSources, MovedSourcesGoOn) {
  bin("m.bin", {{"a", {1}}});
  TensorSource first(folder_.path());
  TensorSource second(std::move(first));
  EXPECT_EQ(values_of(second, "a"), std::vector<float>{1});
  safetensors("n.safetensors", {{"b", {2}}});
  second = TensorSource(folder_.path() / "n.safetensors");
  EXPECT_EQ(values_of(second, "b"), std::vector<float>{2});
  EXPECT_THROW(second.tensor({.name = "a"}), Error);
}

}  // namespace
}  // namespace rrhf::checkpoint
