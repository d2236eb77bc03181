#include "rrhf/train/same_run.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "rrhf/core/error.h"

namespace rrhf::train {
namespace {

namespace fs = std::filesystem;

class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "rrhf-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  void write(const std::string& name, const std::string& content) const { std::ofstream(path_ / name) << content; }

 private:
  fs::path path_;
};

TEST(FolderFingerprint, IsTheSameForTheSameFilesAnywhere) {
  const Folder one, other;
  for (const Folder* folder : {&one, &other}) {
    folder->write("config.json", "{}");
    folder->write("model.safetensors", std::string(3'000'000, 'w'));
  }
  other.write("README.md", "not read by training");
  EXPECT_EQ(folder_fingerprint(one.path()), folder_fingerprint(other.path()));
  other.write("tokenizer.model", "");
  EXPECT_NE(folder_fingerprint(one.path()), folder_fingerprint(other.path()));
}

TEST(FolderFingerprint, SeesSizesAndTheSampledBytes) {
  const Folder folder;
  const std::string weights(3'000'000, 'w');
  const auto fingerprint_of = [&](const std::string& content) {
    folder.write("model.safetensors", content);
    return folder_fingerprint(folder.path());
  };
  const std::string before = fingerprint_of(weights);
  EXPECT_NE(fingerprint_of(weights + "w"), before);
  // First and last byte, and the first of the second of 16 pieces of 65536: (3000000 - 65536) / 15 = 195630.
  for (const std::size_t at : {std::size_t{0}, weights.size() - 1, std::size_t{195'631}}) {
    std::string changed = weights;
    changed[at] = 'x';
    EXPECT_NE(fingerprint_of(changed), before) << at;
  }
  std::string between = weights;
  between[100'000] = 'x';
  EXPECT_EQ(fingerprint_of(between), before) << "a sample, as its declaration says";
  std::string small(1000, 'w');
  const std::string small_before = fingerprint_of(small);
  small[500] = 'x';
  EXPECT_NE(fingerprint_of(small), small_before) << "small files are read whole";
}

TEST(ProgramFingerprint, HoldsTheProgramAndTheLibTorchItRunsOn) {
  const std::string text = program_fingerprint();
  EXPECT_TRUE(text.starts_with("rrhf ")) << text;
  EXPECT_NE(text.find("\nlibtorch_cpu.so: "), std::string::npos) << text;
}

TEST(FolderFingerprint, RefusesAMissingFolder) { EXPECT_THROW(folder_fingerprint("/no/such/folder"), InputError); }

}  // namespace
}  // namespace rrhf::train
