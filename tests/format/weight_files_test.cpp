#include "rrhf/format/weight_files.h"

#include <sys/stat.h>

#include "tests/core/support.h"

namespace rrhf::format {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::holds;
using testing::TemporaryFolder;

class WeightFilesOf : public ::testing::Test {
 protected:
  void write(const std::string& name) { folder_.write(name, "not looked into"); }

  void index(const std::string& name, const std::string& weight_map) {
    folder_.write(name, R"({"metadata": {"total_size": 1}, "weight_map": {)" + weight_map + "}}");
  }

  std::vector<std::string> found() {
    std::vector<std::string> names;
    for (const fs::path& file : find_weight_files(folder_.path()).files) {
      EXPECT_EQ(file.parent_path(), folder_.path());
      names.push_back(file.filename().string());
    }
    return names;
  }

  std::string refusal(const std::string& name = "") {
    return error_of([&] { find_weight_files(name.empty() ? folder_.path() : folder_.path() / name); });
  }

  TemporaryFolder folder_;
};

using Names = std::vector<std::string>;

TEST_F(WeightFilesOf, AreWhatAnIndexNames) {
  for (const char* name : {"one.bin", "two.bin", "stray.bin"}) write(name);
  index("pytorch_model.bin.index.json", R"("b": "two.bin", "a": "one.bin", "c": "two.bin")");
  const WeightFiles files = find_weight_files(folder_.path());
  EXPECT_EQ(files.files, (std::vector{folder_.path() / "one.bin", folder_.path() / "two.bin"}));
  EXPECT_EQ(files.index, folder_.path() / "pytorch_model.bin.index.json");
  EXPECT_EQ(files.shard_of, (std::map<std::string, std::string>{{"a", "one.bin"}, {"b", "two.bin"}, {"c", "two.bin"}}));
}

TEST_F(WeightFilesOf, OfAFileAreThatFile) {
  write("any.name");
  EXPECT_EQ(find_weight_files(folder_.path() / "any.name").files, std::vector{folder_.path() / "any.name"});
}

TEST_F(WeightFilesOf, AnIndexStaysInItsFolder) {
  write("model-1.safetensors");
  for (const char* name :
       {"../model-1.safetensors", "..", ".", "", "sub/x.safetensors", "/etc/passwd", "a\\u0000b", "a\\\\b"}) {
    index("model.safetensors.index.json", R"("a": ")" + std::string(name) + "\"");
    EXPECT_TRUE(holds(refusal(), "the name of a file in the same folder is needed")) << name;
  }
  index("model.safetensors.index.json", R"("a": 1)");
  EXPECT_TRUE(holds(refusal(), "a is mapped to 1"));
  index("model.safetensors.index.json", "");
  EXPECT_TRUE(holds(refusal(), "the weight_map is empty"));
  for (const char* text : {"[]", "{}", R"({"weight_map": []})"}) {
    folder_.write("model.safetensors.index.json", text);
    EXPECT_TRUE(holds(refusal(), "has no weight_map")) << text;
  }
  folder_.write("model.safetensors.index.json", std::string(100'000, '['));
  EXPECT_TRUE(holds(refusal(), "model.safetensors.index.json"));
}

TEST_F(WeightFilesOf, NamesTheShardsThatAreNotThere) {
  write("s1.bin");
  index("pytorch_model.bin.index.json", R"("a": "s1.bin", "b": "s2.bin", "c": "s3.bin")");
  EXPECT_TRUE(holds(refusal(), "2 of the 3 files it names are not there: s2.bin, s3.bin"));
}

TEST_F(WeightFilesOf, AreRegularFiles) {
  const auto fifo = [&](const char* name) { ASSERT_EQ(::mkfifo((folder_.path() / name).c_str(), 0600), 0); };
  fifo("model.safetensors");
  fifo("model.safetensors.index.json");
  fifo("other.bin");
  fs::create_directory(folder_.path() / "pytorch_model.bin");
  fs::create_symlink("/dev/null", folder_.path() / "pytorch_model.bin.index.json");
  EXPECT_TRUE(holds(refusal(),
                    "; model.safetensors is a FIFO; model.safetensors.index.json is a FIFO; "
                    "pytorch_model.bin is a folder; pytorch_model.bin.index.json is a device"));
  EXPECT_TRUE(holds(refusal("other.bin"), "other.bin: is a FIFO; a regular file is needed"));
  // As in transformers, they don't hide what is good.
  write("real.safetensors");
  EXPECT_EQ(found(), Names{"real.safetensors"});
  fs::remove(folder_.path() / "pytorch_model.bin");
  fs::create_symlink("real.safetensors", folder_.path() / "pytorch_model.bin");
  EXPECT_EQ(found(), Names{"pytorch_model.bin"});
  fs::remove(folder_.path() / "pytorch_model.bin");
  fs::remove(folder_.path() / "real.safetensors");
  fs::create_symlink("absent", folder_.path() / "pytorch_model.bin");
  EXPECT_TRUE(holds(refusal(), "; pytorch_model.bin is a link to nowhere"));
}

TEST_F(WeightFilesOf, AnIndexNamesRegularFiles) {
  write("s1.bin");
  ASSERT_EQ(::mkfifo((folder_.path() / "s2.bin").c_str(), 0600), 0);
  fs::create_directory(folder_.path() / "s3.bin");
  index("pytorch_model.bin.index.json", R"("a": "s1.bin", "b": "s2.bin", "c": "s3.bin")");
  EXPECT_TRUE(holds(refusal(), "regular files are needed; s2.bin is a FIFO, s3.bin is a folder"));
}

TEST_F(WeightFilesOf, MetasLayoutIsNamedWithTheWayOut) {
  write("consolidated.00.pth");
  EXPECT_TRUE(holds(refusal(), "in Meta's layout"));
  EXPECT_TRUE(holds(refusal(), "convert_llama_weights_to_hf.py"));
  EXPECT_TRUE(holds(error_of([&] { refuse_meta_layout(folder_.path()); }), "in Meta's layout"));
  write("model.safetensors");  // both in one folder, as some give them out
  EXPECT_EQ(found(), Names{"model.safetensors"});
  fs::remove(folder_.path() / "consolidated.00.pth");
  EXPECT_NO_THROW(refuse_meta_layout(folder_.path()));
  write("params.json");
  EXPECT_TRUE(holds(error_of([&] { refuse_meta_layout(folder_.path()); }), "in Meta's layout"));
}

}  // namespace
}  // namespace rrhf::format
