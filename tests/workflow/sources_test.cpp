#include "rrhf/workflow/sources.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "rrhf/core/error.h"

namespace rrhf::workflow {
namespace {

namespace fs = std::filesystem;

class SourcesTest : public testing::Test {
 protected:
  SourcesTest() { fs::create_directories(folder_ / "model"); }
  ~SourcesTest() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }

  const fs::path folder_ = fs::path(testing::TempDir()) / fmt::format("rrhf-sources-test-{}", ::getpid());
};

TEST_F(SourcesTest, NamesAFileAndItsHash) {
  Sources sources;
  const fs::path file = write("rows.jsonl", "abc");
  EXPECT_EQ(sources.add_file("data", file), "data " + file.string());
  // FIPS 180-2, example B.1
  EXPECT_EQ(sources.json(),
            Json({{"data " + file.string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}));
  write("rows.jsonl", "changed");
  sources.add_file("data", file);  // not read again
  EXPECT_EQ(sources.json().at("data " + file.string()).get<std::string>().substr(0, 8), "ba7816bf");
  EXPECT_THROW(sources.add_file("data", folder_ / "nowhere"), InputError);
}

TEST_F(SourcesTest, TellsAModelFromAnother) {
  const auto hash = [&] {
    Sources sources;
    const std::string key = sources.add_folder("model.path", folder_ / "model");
    return sources.json().at(key);
  };
  write("model/config.json", "{}");
  const Json before = hash();
  EXPECT_EQ(hash(), before);
  write("model/config.json", "{ }");
  EXPECT_NE(hash(), before);
}

TEST_F(SourcesTest, HoldsWhatATemplateMakes) {
  Sources sources;
  EXPECT_EQ(sources.add_template("data.template", write("t.txt", "Q: {query}\nA:").string()), "data.template");
  EXPECT_EQ(sources.json().at("data.template"), "Q: {query}\nA:");
}

}  // namespace
}  // namespace rrhf::workflow
