// Folders for the tokenizer's tests: the shared LLaMA vocabulary, and copies of it with small files beside.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/core/support.h"

namespace rrhf::text::testing {

using namespace rrhf::testing;

/// Real data: $RRHF_SHARED, else ../shared beside the source folder.
inline std::filesystem::path shared_folder() {
  const char* given = std::getenv("RRHF_SHARED");
  return given != nullptr ? std::filesystem::path(given)
                          : std::filesystem::path(RRHF_SOURCE_DIR).parent_path() / "shared";
}

inline std::filesystem::path llama_folder() { return shared_folder() / "tokenizers" / "llama"; }

/// Skips the tests of a suite where the shared vocabulary is absent.
class WithLlamaVocabulary : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(llama_folder() / "tokenizer.model")) {
      GTEST_SKIP() << "needs tokenizers/llama/tokenizer.model in " << shared_folder()
                   << " (RRHF_SHARED names another place)";
    }
    std::filesystem::copy_file(llama_folder() / "tokenizer.model", folder_.path() / "tokenizer.model");
  }

  TemporaryFolder folder_;  // with tokenizer.model alone, until a test writes more
};

}  // namespace rrhf::text::testing
