// A run's folder made of the texts a test gives.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace rrhf::report {

/// A folder of its own under the test's temporary folder, removed at the end.
class ScratchRun {
 public:
  explicit ScratchRun(const std::string& name, const std::string& metrics, const std::string& config = "") {
    std::filesystem::remove_all(folder_ = std::filesystem::path(testing::TempDir()) / "rrhf-report-test" / name);
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / "metrics.jsonl") << metrics;
    if (!config.empty()) std::ofstream(folder_ / "config.json") << config;
  }
  ~ScratchRun() { std::filesystem::remove_all(folder_); }
  ScratchRun(const ScratchRun&) = delete;
  ScratchRun& operator=(const ScratchRun&) = delete;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

}  // namespace rrhf::report
